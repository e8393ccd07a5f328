using System.Diagnostics;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Linux.Companion;

/// <summary>Serves its timers, and replaces an OP-TEE that has failed.</summary>
/// <remarks>A thread of its own, since both run OP-TEE; the <see cref="Watchdog"/> watches over it. While the VM is
/// paused it does neither. Thread-safe.</remarks>
internal sealed class CompanionMaintenance : CompanionThread
{
    private static readonly TimeSpan LongestWait = TimeSpan.FromHours(1);

    private readonly Action _replace;
    private readonly VmPause _pause;
    private volatile bool _mustReplace;
    private long _wakesAt;

    internal CompanionMaintenance(Action replace, VmPause pause, string name, ILogger log) : base(name, "timers", log)
    {
        _replace = replace;
        _pause = pause;
        Start();
    }

    internal void OnTimer(long due)
    {
        if (due < Volatile.Read(ref _wakesAt))
        {
            Wake();
        }
    }

    internal void Replace()
    {
        _mustReplace = true;
        Wake();
    }

    internal void OnResumed() => Wake();

    protected override void Run()
    {
        while (!IsStopping)
        {
            try
            {
                // A full fence: either a core that sets a timer now wakes this thread, or the timer is seen here.
                _ = Interlocked.Exchange(ref _wakesAt, long.MaxValue);
                long next = Work();
                Volatile.Write(ref _wakesAt, next);
                Wait(WaitUntil(next));
            }
            catch (Exception exception)
            {
                LogFailure(exception);
                Wait(TimeSpan.FromSeconds(1));
            }
        }
    }

    /// <summary>Does what is to be done now. Returns when there is more to do.</summary>
    private long Work()
    {
        if (!_pause.TryEnter())
        {
            return long.MaxValue;
        }

        try
        {
            if (_mustReplace)
            {
                _mustReplace = false;
                _replace();
            }

            return Tee?.ServeTimers(Stopwatch.GetTimestamp()) ?? long.MaxValue;
        }
        finally
        {
            _pause.Exit();
        }
    }

    private static TimeSpan WaitUntil(long time)
    {
        long ticks = time - Stopwatch.GetTimestamp();

        // Rounded up, for a wait of whole milliseconds that ends early would be followed by another.
        double milliseconds = double.Ceiling(ticks * 1000.0 / Stopwatch.Frequency);
        return TimeSpan.FromMilliseconds(double.Clamp(milliseconds, 0, LongestWait.TotalMilliseconds));
    }
}
