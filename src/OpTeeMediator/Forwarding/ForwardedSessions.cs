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

    /// <summary>Counts a session that is about to be opened.</summary>
    /// <returns><see langword="false"/> if there would be too many.</returns>
    public bool TryBeginOpening()
    {
        lock (_lock)
        {
            bool isWithinLimit = _ids.Count + _opening < atMost;
            _opening += isWithinLimit ? 1 : 0;
            return isWithinLimit;
        }
    }

    /// <summary>OP-TEE has opened a session.</summary>
    public void Opened(uint id)
    {
        lock (_lock)
        {
            _opening--;
            _ = _ids.Add(id);
        }
    }

    /// <summary>OP-TEE has opened none.</summary>
    public void NotOpened()
    {
        lock (_lock)
        {
            _opening--;
        }
    }

    /// <summary>OP-TEE has closed a session.</summary>
    public void Closed(uint id)
    {
        lock (_lock)
        {
            _ = _ids.Remove(id);
        }
    }

    /// <summary>Any one session.</summary>
    public bool TryGetAny(out uint id)
    {
        lock (_lock)
        {
            foreach (uint any in _ids)
            {
                id = any;
                return true;
            }

            id = 0;
            return false;
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
