namespace OpTeeMediator.Tests.SoftwareTee;

/// <summary>An operation on a thread of its own, as the mediator's workers run them.</summary>
internal sealed class ThreadRunner<T>
{
    // Long enough for the slowest machine; a test that needs it has failed.
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private readonly Thread _thread;
    private readonly TaskCompletionSource<T> _result = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public ThreadRunner(Func<ValueTask<T>> operation)
    {
        _thread = new Thread(() => Run(operation)) { IsBackground = true };
        _thread.Start();
    }

    public Task<T> Result => _result.Task.WaitAsync(Patience);

    /// <summary>Returns when the thread waits for something.</summary>
    public void WaitUntilBlocked() =>
        Assert.That(SpinWait.SpinUntil(() => _thread.ThreadState.HasFlag(ThreadState.WaitSleepJoin), Patience),
            "The thread should wait.");

    private void Run(Func<ValueTask<T>> operation)
    {
        try
        {
            _result.SetResult(operation().AsTask().GetAwaiter().GetResult());
        }
        catch (Exception exception)
        {
            _result.SetException(exception);
        }
    }
}
