using System.Diagnostics;

namespace OpTeeMediator.Calls;

/// <summary>How the time of a call divides: the backend's part, the guest's, and the mediator's, which is the
/// rest.</summary>
/// <remarks>In ticks of <see cref="Stopwatch"/>. The vCPU that has the call writes it, and while the backend has the
/// operation, the backend's thread its part: both meet in the operation's phase. A backend that goes on without waiting
/// for the guest's answer gets a time that is wrong, and nothing worse.</remarks>
internal sealed class CallTimeline
{
    private long _backendSince;
    private long _backendStopped;
    private long _suspended;

    /// <summary>When the call began; 0 if nobody observes it.</summary>
    public long Started { get; private set; }

    /// <summary>Whether somebody observes the call.</summary>
    public bool IsObserved => Started != 0;

    /// <summary>How long the backend has worked.</summary>
    public long BackendTime { get; private set; }

    /// <summary>How long the guest had the call while the backend did not work.</summary>
    public long GuestTime { get; private set; }

    /// <summary>Nobody observes the call.</summary>
    public void Clear() => Started = 0;

    public void Begin()
    {
        _backendSince = 0;
        _backendStopped = 0;
        BackendTime = 0;
        GuestTime = 0;
        Started = Stopwatch.GetTimestamp();
    }

    public void Suspend() => _suspended = Stopwatch.GetTimestamp();

    public void Resume()
    {
        // Only the vCPU lets the backend begin, so what does not work now has stopped at a known moment.
        if (Volatile.Read(ref _backendSince) == 0)
        {
            GuestTime += Math.Max(0, Stopwatch.GetTimestamp() - Math.Max(_suspended, _backendStopped));
        }
    }

    public void BackendBegins() => Volatile.Write(ref _backendSince, Stopwatch.GetTimestamp());

    public void BackendStops()
    {
        long since = Volatile.Read(ref _backendSince);
        if (since != 0)
        {
            long now = Stopwatch.GetTimestamp();
            BackendTime += now - since;
            _backendStopped = now;
            Volatile.Write(ref _backendSince, 0);
        }
    }
}
