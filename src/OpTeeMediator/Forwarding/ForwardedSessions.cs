namespace OpTeeMediator.Forwarding;

/// <summary>The sessions that a VM's driver has in OP-TEE, so that they can be closed for it.</summary>
/// <remarks>Thread-safe. Allocates only when it is made.</remarks>
internal sealed class ForwardedSessions(int atMost)
{
    private readonly Lock _lock = new();
    private readonly HashSet<uint> _ids = new(atMost);
    private int _opening;

    /// <summary>How many there are, with those that are being opened.</summary>
    public int Count
    {
        get
        {
            lock (_lock)
            {
                return _ids.Count + _opening;
            }
        }
    }

    /// <summary>Counts a session that is about to be opened, unless there would be too many.</summary>
    public bool TryBeginOpening()
    {
        lock (_lock)
        {
            bool isWithinLimit = _ids.Count + _opening < atMost;
            _opening += isWithinLimit ? 1 : 0;
            return isWithinLimit;
        }
    }

    /// <summary>OP-TEE has opened a session, or none if <paramref name="id"/> is <see langword="null"/>.</summary>
    public void EndOpening(uint? id)
    {
        lock (_lock)
        {
            _opening--;
            _ = id is { } opened && _ids.Add(opened);
        }
    }

    public void Closed(uint id)
    {
        lock (_lock)
        {
            _ = _ids.Remove(id);
        }
    }

    public bool TryGetAny(out uint id)
    {
        lock (_lock)
        {
            using HashSet<uint>.Enumerator ids = _ids.GetEnumerator();
            bool isFound = ids.MoveNext();
            id = ids.Current;
            return isFound;
        }
    }

    /// <summary>OP-TEE has none any more.</summary>
    public void Clear()
    {
        lock (_lock)
        {
            _ids.Clear();
            _opening = 0;
        }
    }
}
