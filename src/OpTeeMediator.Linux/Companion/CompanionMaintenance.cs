using System.Diagnostics;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Diagnostics;

namespace OpTeeMediator.Linux.Companion;

/// <summary>
/// Does for an OP-TEE what no guest's call does: its timers when they are due, and another one in its place when it has
/// failed.
/// </summary>
/// <remarks>
/// A thread of its own, since both run OP-TEE; the <see cref="Watchdog"/> watches over it. Thread-safe.
/// </remarks>
internal sealed class CompanionMaintenance : IDisposable
{
    private static readonly TimeSpan LongestWait = TimeSpan.FromHours(1);

    private readonly Action _replace;
    private readonly string _name;
    private readonly ILogger _log;
    private readonly LogRateLimit _failures = new();
    private readonly AutoResetEvent _wake = new(initialState: false);
    private readonly Thread _thread;
    private volatile CompanionTee? _tee;
    private volatile bool _mustReplace;
    private volatile bool _isStopping;
    private long _wakesAt;

    /// <summary>Starts it.</summary>
    /// <param name="replace">Replaces the OP-TEE that has failed.</param>
    /// <param name="name">The VM's name.</param>
    /// <param name="log">Where to log.</param>
    internal CompanionMaintenance(Action replace, string name, ILogger log)
    {
        _replace = replace;
        _name = name;
        _log = log;
        _thread = new Thread(Run) { IsBackground = true, Name = $"{name}: OP-TEE timers" };
        _thread.Start();
    }

    /// <summary>Serves another OP-TEE from now on.</summary>
    internal void Keep(CompanionTee tee)
    {
        _tee = tee;
        _ = _wake.Set();
    }

    /// <summary>A timer is set.</summary>
    internal void OnTimer(long due)
    {
        if (due < Volatile.Read(ref _wakesAt))
        {
            _ = _wake.Set();
        }
    }

    /// <summary>The OP-TEE has failed.</summary>
    internal void Replace()
    {
        _mustReplace = true;
        _ = _wake.Set();
    }

    /// <summary>Ends it; not on its own thread.</summary>
    public void Dispose()
    {
        _isStopping = true;
        _ = _wake.Set();
        _thread.Join();
        _wake.Dispose();
    }

    private void Run()
    {
        while (!_isStopping)
        {
            try
            {
                if (_mustReplace)
                {
                    _mustReplace = false;
                    _replace();
                }

                // A full fence: either who sets a timer now wakes this thread, or the timer is seen here.
                _ = Interlocked.Exchange(ref _wakesAt, long.MaxValue);
                long now = Stopwatch.GetTimestamp();
                long next = _tee?.ServeTimers(now) ?? long.MaxValue;
                Volatile.Write(ref _wakesAt, next);
                _ = _wake.WaitOne(WaitUntil(next));
            }
            catch (Exception exception)
            {
                // KVM that cannot go on: this thread must live on.
                if (_failures.TryPass(out long suppressed))
                {
                    _log.SupervisionFailed(_name, suppressed, exception);
                }

                _ = _wake.WaitOne(TimeSpan.FromSeconds(1));
            }
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
