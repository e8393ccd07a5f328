using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Operations;

namespace OpTeeMediator.SoftwareTee.Applications;

/// <summary>The sessions that an instance has opened with other applications. Thread-safe.</summary>
/// <param name="directory">The applications of the VM.</param>
internal sealed class OpenedSessions(IApplicationDirectory directory)
{
    private readonly Lock _lock = new();
    private readonly List<ClientSession> _sessions = [];

    public ClientSession Add(ITeeSession session)
    {
        ClientSession opened = new(this, session);
        lock (_lock)
        {
            _sessions.Add(opened);
        }

        return opened;
    }

    public bool IsEmpty
    {
        get
        {
            lock (_lock)
            {
                return _sessions.Count == 0;
            }
        }
    }

    public bool TryRemove(ClientSession session)
    {
        lock (_lock)
        {
            return _sessions.Remove(session);
        }
    }

    /// <summary>The instance has ended: closes what it has left open.</summary>
    /// <param name="guest">What the other applications ask, if the thread is that of an operation of the guest.</param>
    /// <param name="root">The guest's operation that is inside.</param>
    public void CloseAll(GuestServices? guest, TeeRequest root)
    {
        foreach (ClientSession opened in TakeAll())
        {
            if (opened.TryTake() is { } session)
            {
                TeeRequest request = new() { Operation = TeeOperation.CloseSession, Guest = guest ?? new NoGuest() };
                ValueTask closing = directory.CloseAsync(session, request, root);
                closing.AsTask().GetAwaiter().GetResult();
            }
        }
    }

    private List<ClientSession> TakeAll()
    {
        lock (_lock)
        {
            List<ClientSession> all = [.. _sessions];
            _sessions.Clear();
            return all;
        }
    }
}
