using System.Runtime.CompilerServices;
using OpTeeMediator.State;

namespace OpTeeMediator.Calls;

/// <summary>A guest's sessions, by id. The table grows up to a capacity.</summary>
/// <remarks><see cref="Find"/> may run beside a change; all else is called inside the sequence lock.</remarks>
internal sealed class SessionTable(int capacity)
{
    private const int IndexBits = 16;
    private const int FirstPlaces = 16;

    private Session?[] _sessions = new Session?[Math.Min(capacity, FirstPlaces)];
    private uint _generation;
    private int _searchFrom;
    private int _removeFrom;

    public int Count { get; private set; }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Session? Find(uint id)
    {
        Session?[] sessions = _sessions;
        uint index = (id & ((1u << IndexBits) - 1)) - 1;
        return index < (uint)sessions.Length && sessions[index] is { } session && session.Id == id ? session : null;
    }

    /// <summary>Reserves a place for a session that is being opened, if there is one.</summary>
    public Session? TryAdd(Guid application)
    {
        if (Count == capacity || (Count == _sessions.Length && !TryGrow()))
        {
            return null;
        }

        while (_sessions[_searchFrom] is not null)
        {
            Advance();
        }

        Session session = new(_generation << IndexBits | (uint)(_searchFrom + 1), application);
        _sessions[_searchFrom] = session;
        Count++;
        Advance();
        return session;
    }

    public void Remove(Session session)
    {
        int index = (int)(session.Id & ((1u << IndexBits) - 1)) - 1;
        if (_sessions[index] == session)
        {
            _sessions[index] = null;
            Count--;
        }
    }

    /// <summary>Any session, for removing them all while none is added; the search goes on where it stopped.</summary>
    public Session? FindAny()
    {
        for (; _removeFrom < _sessions.Length; _removeFrom++)
        {
            if (_sessions[_removeFrom] is { } session)
            {
                return session;
            }
        }

        _removeFrom = 0;
        return null;
    }

    /// <summary>All sessions, in no order.</summary>
    public IEnumerable<Session> All => _sessions.OfType<Session>();

    /// <summary>Saves which ids come next.</summary>
    public void SaveIds(StateWriter writer)
    {
        writer.WriteUInt32(_generation);
        writer.WriteCount(_searchFrom);
        writer.WriteCount(_sessions.Length);
    }

    /// <summary>Takes over which ids come next, into an empty table.</summary>
    public void RestoreIds(StateReader reader)
    {
        _generation = reader.ReadUInt32();
        int next = reader.ReadCount(capacity, "sessions");
        int places = reader.ReadCount(capacity, "sessions");
        if (next >= places)
        {
            throw StateReader.Malformed("its session table is");
        }

        _sessions = new Session?[places];
        _searchFrom = next;
    }

    /// <summary>Enters a session under an id of its own.</summary>
    public Session Restore(uint id, Guid application)
    {
        int index = (int)(id & ((1u << IndexBits) - 1)) - 1;
        if ((uint)index >= (uint)_sessions.Length || _sessions[index] is not null)
        {
            throw StateReader.Malformed($"a session has the id 0x{id:x}");
        }

        Count++;
        return _sessions[index] = new Session(id, application);
    }

    private bool TryGrow()
    {
        try
        {
            Array.Resize(ref _sessions, Math.Min(capacity, Count * 2));
        }
        catch (OutOfMemoryException)
        {
            return false;
        }

        // The new places have not been used in this turn.
        _searchFrom = Count;
        return true;
    }

    // Places are used in turn, and each turn has a generation of its own, so that an old id finds nothing.
    private void Advance()
    {
        if (++_searchFrom == _sessions.Length)
        {
            _searchFrom = 0;
            _generation++;
        }
    }
}
