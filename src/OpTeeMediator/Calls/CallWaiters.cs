using System.Diagnostics;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Calls;

/// <summary>Threads that wait for calls to end. Thread-safe.</summary>
internal sealed class CallWaiters
{
    private static readonly TimeSpan PollInterval = TimeSpan.FromMilliseconds(10);

    private readonly ManualResetEventSlim _released = new(false);
    private int _waiters;

    public bool Any => Volatile.Read(ref _waiters) != 0;

    /// <summary>Waits for what the end of calls brings about: up to a millisecond longer than the timeout.</summary>
    public bool WaitUntil<TCalls, TArgument>(
        Func<TCalls, TArgument, bool> condition, TCalls calls, TArgument argument, TimeSpan timeout)
    {
        if (condition(calls, argument))
        {
            return true;
        }

        long start = Stopwatch.GetTimestamp();
        _ = Interlocked.Increment(ref _waiters);
        try
        {
            while (true)
            {
                _released.Reset();
                if (condition(calls, argument))
                {
                    return true;
                }

                TimeSpan left = timeout == Timeout.InfiniteTimeSpan ? PollInterval
                    : timeout - Stopwatch.GetElapsedTime(start);
                if (left <= TimeSpan.Zero)
                {
                    return false;
                }

                // Several may wait, and one reset the event before another sees it: look again after a while.
                InterleavingPoint.Reach("CallSlots.WaitUntil: about to wait");
                _ = _released.Wait(WholeMilliseconds.AtLeast(left < PollInterval ? left : PollInterval));
            }
        }
        finally
        {
            _ = Interlocked.Decrement(ref _waiters);
        }
    }

    public void Wake() => _released.Set();
}
