using OpTeeMediator.ExplorationTests.Scheduling;

namespace OpTeeMediator;

/// <summary>Waits end when it is set: see <see cref="Explorer"/> about time.</summary>
internal sealed class ManualResetEventSlim(bool initialState) : IDisposable
{
    private bool _isSet = initialState;

    public bool IsSet
    {
        get
        {
            Explorer.Reach("ManualResetEventSlim.IsSet");
            return _isSet;
        }
    }

    public void Set()
    {
        Explorer.Reach("ManualResetEventSlim.Set");
        _isSet = true;
    }

    public void Reset()
    {
        Explorer.Reach("ManualResetEventSlim.Reset");
        _isSet = false;
    }

    public void Wait() => Explorer.WaitUntil(() => _isSet, "ManualResetEventSlim.Wait");

    public bool Wait(int milliseconds)
    {
        if (milliseconds == 0)
        {
            return IsSet;
        }

        Wait();
        return true;
    }

    public bool Wait(TimeSpan timeout) => Wait((int)Math.Clamp(timeout.TotalMilliseconds, -1, int.MaxValue));

    public void Dispose()
    {
    }
}
