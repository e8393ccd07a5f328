using OpTeeMediator.Backends;
using OpTeeMediator.Remote.Framing;

namespace OpTeeMediator.Remote.Server;

/// <summary>The sessions that a VM has open, by numbers from 1 on. Thread-safe.</summary>
internal sealed class HostedSessions(int maximum)
{
    private readonly List<HostedSession?> _sessions = [];
    private readonly Stack<int> _free = [];
    private readonly Lock _lock = new();

    // Reserved before a session is opened, so that one that is open has room.
    private int _count;

    /// <summary>Makes room for a session.</summary>
    public bool TryReserve()
    {
        lock (_lock)
        {
            if (_count == maximum)
            {
                return false;
            }

            _count++;
            return true;
        }
    }

    /// <summary>Ends a reservation for which no session has come.</summary>
    public void CancelReservation()
    {
        lock (_lock)
        {
            _count--;
        }
    }

    /// <summary>Adds a session for which room is reserved.</summary>
    public HostedSession Add(ITeeSession session, Guid application, TeeExecution execution)
    {
        lock (_lock)
        {
            if (!_free.TryPop(out int index))
            {
                index = _sessions.Count;
                _sessions.Add(null);
            }

            HostedSession added = new((uint)index + 1, session, application, execution);
            _sessions[index] = added;
            return added;
        }
    }

    /// <summary>Finds an open session.</summary>
    /// <exception cref="ProtocolException">There is none of this number.</exception>
    public HostedSession Find(uint number)
    {
        lock (_lock)
        {
            return number is not 0 && number <= (uint)_sessions.Count && _sessions[(int)number - 1] is { } session
                ? session
                : throw new ProtocolException($"session {number}, which is not open");
        }
    }

    /// <summary>Takes a session out that is to be closed; its room stays taken until <see cref="Free"/>.</summary>
    /// <exception cref="ProtocolException">There is none, or it is in use.</exception>
    public HostedSession Take(uint number)
    {
        HostedSession session = Find(number);
        if (session.IsUsed)
        {
            throw new ProtocolException($"the closing of session {number}, in which a command runs");
        }

        lock (_lock)
        {
            _sessions[(int)number - 1] = null;
        }

        return session;
    }

    /// <summary>Frees the number of a session that was taken out.</summary>
    public void Free(HostedSession session)
    {
        lock (_lock)
        {
            _free.Push((int)session.Number - 1);
            _count--;
        }
    }

    /// <summary>Any session, to be closed by <see cref="Take"/>; <see langword="null"/> if none is open.</summary>
    public HostedSession? FindAny()
    {
        lock (_lock)
        {
            return _sessions.Find(session => session is not null);
        }
    }
}
