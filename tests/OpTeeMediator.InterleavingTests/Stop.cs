namespace OpTeeMediator.InterleavingTests;

/// <summary>A thread that is held at an interleaving point, or will be when it gets there.</summary>
internal sealed class Stop(string point)
{
    private readonly ManualResetEventSlim _reached = new(false);
    private readonly ManualResetEventSlim _released = new(false);
    private volatile bool _isOverdue;

    public string Point => point;

    /// <summary>Whether the thread went on because nobody released it in time.</summary>
    public bool IsOverdue => _isOverdue;

    /// <summary>Waits until a thread has stopped here.</summary>
    /// <exception cref="TimeoutException">None has within the deadline.</exception>
    public void WaitUntilReached()
    {
        if (!_reached.Wait(InterleavingController.Deadline))
        {
            throw new TimeoutException($"No thread has reached \"{point}\" within {InterleavingController.Deadline}.");
        }
    }

    public void Release() => _released.Set();

    public void Enter()
    {
        _reached.Set();
        if (!_released.Wait(InterleavingController.Deadline))
        {
            _isOverdue = true;
        }
    }
}
