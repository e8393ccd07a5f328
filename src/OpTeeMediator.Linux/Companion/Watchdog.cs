using Microsoft.Extensions.Logging;

namespace OpTeeMediator.Linux.Companion;

/// <summary>Declares that an OP-TEE has failed which keeps a core without answering.</summary>
/// <remarks>A panicked OP-TEE loops with its interrupts masked, so nothing that is done inside the VM can tell. Its
/// thread looks ten times a second while there are calls, and sleeps when there are none: a core that begins to run
/// wakes it. It never waits for OP-TEE itself. Thread-safe.</remarks>
internal sealed class Watchdog : CompanionThread
{
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(100);

    // So that a guest with a call now and then does not pay a wake-up for each.
    private const int LooksBeforeSleep = 10;

    private readonly int _answerPatience;
    private readonly int _startPatience;
    private readonly StallDetector _detector = new();
    private int _looksAtStart;
    private bool _isAsleep;

    internal Watchdog(TimeSpan answerDeadline, TimeSpan startDeadline, string name, ILogger log)
        : base(name, "watchdog", log)
    {
        _answerPatience = (int)(answerDeadline / Interval);
        _startPatience = (int)(startDeadline / Interval);
        Start();
    }

    internal void OnRun()
    {
        if (Volatile.Read(ref _isAsleep))
        {
            Wake();
        }
    }

    protected override void Run()
    {
        CompanionTee? tee = null;
        int quietLooks = 0;
        while (!IsStopping)
        {
            if (tee != Tee)
            {
                tee = Tee;
                _detector.Reset();
                _looksAtStart = 0;
                quietLooks = 0;
            }

            quietLooks = Look(tee) ? 0 : quietLooks + 1;
            if (quietLooks <= LooksBeforeSleep)
            {
                Wait(Interval);
                continue;
            }

            // A full fence: either a core that begins to run now sees that this thread sleeps, or it is seen here.
            _ = Interlocked.Exchange(ref _isAsleep, true);
            if (!Look(tee))
            {
                Wait(Timeout.InfiniteTimeSpan);
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
                LogFailure(exception);
            }
        }

        return isActive;
    }
}
