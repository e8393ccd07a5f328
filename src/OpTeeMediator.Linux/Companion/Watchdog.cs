using Microsoft.Extensions.Logging;
using OpTeeMediator.Diagnostics;

namespace OpTeeMediator.Linux.Companion;

/// <summary>Declares that an OP-TEE has failed which keeps a core without answering.</summary>
/// <remarks>
/// A panicked OP-TEE loops with its interrupts masked, so nothing that is done inside the VM can tell. Its thread looks
/// ten times a second while there are calls, and sleeps when there are none: who begins to run wakes it. It never waits
/// for OP-TEE itself. Thread-safe.
/// </remarks>
internal sealed class Watchdog : IDisposable
{
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(100);

    // So that a guest with a call now and then does not pay a wake-up for each.
    private const int LooksBeforeSleep = 10;

    private readonly int _answerPatience;
    private readonly int _startPatience;
    private readonly string _name;
    private readonly ILogger _log;
    private readonly LogRateLimit _failures = new();
    private readonly StallDetector _detector = new();
    private int _looksAtStart;
    private readonly AutoResetEvent _wake = new(initialState: false);
    private readonly Thread _thread;
    private volatile CompanionTee? _watched;
    private volatile bool _isStopping;
    private bool _isAsleep;

    internal Watchdog(TimeSpan answerDeadline, TimeSpan startDeadline, string name, ILogger log)
    {
        _answerPatience = (int)(answerDeadline / Interval);
        _startPatience = (int)(startDeadline / Interval);
        _name = name;
        _log = log;
        _thread = new Thread(Run) { IsBackground = true, Name = $"{name}: OP-TEE watchdog" };
        _thread.Start();
    }

    /// <summary>Watches over another OP-TEE from now on.</summary>
    internal void Watch(CompanionTee tee)
    {
        _watched = tee;
        _ = _wake.Set();
    }

    /// <summary>A core begins to run.</summary>
    internal void OnRun()
    {
        if (Volatile.Read(ref _isAsleep))
        {
            _ = _wake.Set();
        }
    }

    /// <summary>Ends the watch.</summary>
    public void Dispose()
    {
        _isStopping = true;
        _ = _wake.Set();
        _thread.Join();
        _wake.Dispose();
    }

    private void Run()
    {
        CompanionTee? tee = null;
        int quietLooks = 0;
        while (!_isStopping)
        {
            if (tee != _watched)
            {
                tee = _watched;
                _detector.Reset();
                _looksAtStart = 0;
                quietLooks = 0;
            }

            quietLooks = Look(tee) ? 0 : quietLooks + 1;
            if (quietLooks <= LooksBeforeSleep)
            {
                _ = _wake.WaitOne(Interval);
                continue;
            }

            // A full fence: either who begins to run now sees that this thread sleeps, or it is seen here.
            _ = Interlocked.Exchange(ref _isAsleep, true);
            if (!Look(tee))
            {
                _ = _wake.WaitOne();
            }

            Volatile.Write(ref _isAsleep, false);
            quietLooks = 0;
        }
    }

    private bool Look(CompanionTee? tee)
    {
        if (tee is null || tee.HasEnded)
        {
            return false;
        }

        bool isActive = _detector.Look(
            tee.Cores, tee.HasStarted ? _answerPatience : int.MaxValue, out CompanionCore? stalled);
        if (!tee.HasStarted && isActive && ++_looksAtStart >= _startPatience)
        {
            // A start is more than one run of its core, and has one deadline.
            stalled = tee.Cores[0];
        }

        if (stalled is not null)
        {
            try
            {
                tee.Fail(new TeeFailure(stalled.Index, TeeFailureCause.NoAnswer, 0, 0));
            }
            catch (Exception exception)
            {
                // This thread must live on.
                if (_failures.TryPass(out long suppressed))
                {
                    _log.SupervisionFailed(_name, suppressed, exception);
                }
            }
        }

        return isActive;
    }
}
