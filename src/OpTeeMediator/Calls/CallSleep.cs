using System.Runtime.CompilerServices;

namespace OpTeeMediator.Calls;

/// <summary>The sleep of a guest's thread while its call's operation runs: each is ended by one notification.</summary>
/// <remarks>
/// <code>
///  Awake ── TryBegin ──► Asleep ── Wake, sends the notification ──► Woken
///    ▲                     │                                          │
///    └──────── End ────────┴──────────────────────────────────────────┘
/// </code>
/// Thread-safe.
/// </remarks>
internal sealed class CallSleep(NotificationQueue notifications, uint number)
{
    private volatile SleepState _state;
    private Timer? _timer;

    public uint Number => number;

    /// <summary>Whether the thread sleeps, or is about to: from <see cref="TryBegin"/> to <see cref="End"/>.</summary>
    public bool IsActive => _state != SleepState.Awake;

    /// <summary>Lets the end of the operation, or a call of the backend, send the notification; that is sent without a
    /// reason after a time. Fails, without a notification, if the operation does not run any more.</summary>
    public bool TryBegin(CallOperation operation, TimeSpan atMost)
    {
        _ = Interlocked.Exchange(ref _state, SleepState.Asleep);
        if (operation.Phase != OperationPhase.Working
            && Interlocked.CompareExchange(ref _state, SleepState.Awake, SleepState.Asleep) == SleepState.Asleep)
        {
            return false;
        }

        _timer ??= new Timer(
            static sleep => ((CallSleep)sleep!).Wake(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        _ = _timer.Change(atMost, Timeout.InfiniteTimeSpan);
        return true;
    }

    /// <summary>The guest's thread is back, or gone.</summary>
    public void End()
    {
        _ = Interlocked.Exchange(ref _state, SleepState.Awake);
        _ = _timer?.Change(Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>The guest's thread sleeps since before the state was saved; its operation runs no more.</summary>
    public void Restore()
    {
        _state = SleepState.Asleep;
        Wake();
    }

    /// <summary>Wakes the guest's thread, if it sleeps and was not woken yet.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Wake()
    {
        if (_state == SleepState.Asleep
            && Interlocked.CompareExchange(ref _state, SleepState.Woken, SleepState.Asleep) == SleepState.Asleep)
        {
            notifications.Post(number);
        }
    }
}
