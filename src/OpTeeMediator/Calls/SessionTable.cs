using System.Runtime.CompilerServices;

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
