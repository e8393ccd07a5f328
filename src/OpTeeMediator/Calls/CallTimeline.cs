using System.Diagnostics;

namespace OpTeeMediator.Calls;

/// <summary>How the time of a call divides: the backend's part, the guest's, and the mediator's, which is the
/// rest.</summary>
/// <remarks>In ticks of <see cref="Stopwatch"/>. The vCPU that has the call writes it, and while the backend has the
/// operation, the backend's thread its part: both meet in the operation's phase. A backend that goes on without waiting
/// for the guest's answer gets a time that is wrong, and nothing worse.</remarks>
internal sealed class CallTimeline(int slot)
{
    private long _backendSince;
    private long _backendStopped;

    /// <summary>The slot of the call.</summary>
    public int Slot { get; } = slot;

    /// <summary>The call's number in the trace.</summary>
    public long Number { get; private set; }

    /// <summary>When the call began; 0 if nobody observes it.</summary>
    public long Started { get; private set; }

    /// <summary>When the guest was last given the call.</summary>
    public long Suspended { get; private set; }

    /// <summary>Whether somebody observes the call.</summary>
    public bool IsObserved => Started != 0;

    /// <summary>How long the backend has worked.</summary>
    public long BackendTime { get; private set; }

    /// <summary>How long the guest had the call while the backend did not work.</summary>
    public long GuestTime { get; private set; }

    /// <summary>Nobody observes the call.</summary>
    public void Clear() => Started = 0;

    public void Begin(long number)
    {
        Number = number;
        _backendSince = 0;
        _backendStopped = 0;
        BackendTime = 0;
        GuestTime = 0;
        Started = Stopwatch.GetTimestamp();
    }

    public void Suspend() => Suspended = Stopwatch.GetTimestamp();

    public void Resume(long now)
    {
        // Only the vCPU lets the backend begin, so what does not work now has stopped at a known moment.
        if (Volatile.Read(ref _backendSince) == 0)
        {
            GuestTime += Math.Max(0, now - Math.Max(Suspended, _backendStopped));
        }
    }

    public void BackendBegins() => Volatile.Write(ref _backendSince, Stopwatch.GetTimestamp());

    /// <returns>When it had begun; 0 if it did not work.</returns>
    public long BackendStops(long now)
    {
        long since = Volatile.Read(ref _backendSince);
        if (since != 0)
        {
            BackendTime += now - since;
            _backendStopped = now;
            Volatile.Write(ref _backendSince, 0);
        }

        return since;
    }
}
