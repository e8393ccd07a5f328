using System.Numerics;
using System.Runtime.CompilerServices;

namespace OpTeeMediator.SharedMemory;

/// <summary>The registered buffers by cookie: open addressing, at most half full, up to a capacity.</summary>
/// <remarks><see cref="Find"/> may run beside a change; what it then found is wrong at worst, never harmful, and the
/// <see cref="SequenceLock"/> tells. Everything else is called inside <see cref="SequenceLock.Enter"/>.</remarks>
internal sealed class SharedMemoryTable(int capacity)
{
    // What a driver of Linux registers by itself fits.
    private const int FirstPlaces = 64;

    private readonly CookieHash _hash = new();
    private SharedBuffer?[] _places =
        new SharedBuffer?[Math.Min(FirstPlaces, BitOperations.RoundUpToPowerOf2((uint)capacity * 2))];

    // Where RemoveAny goes on, so that emptying the table looks at each place once.
    private int _searchFrom;

    public int Count { get; private set; }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public SharedBuffer? Find(ulong cookie)
    {
        SharedBuffer?[] places = _places;
        int place = _hash.PlaceOf(cookie, places.Length);

        // Bounded: the empty place at the end of a run could move away for as long as changes go on.
        for (int step = 0; step < places.Length; step++)
        {
            SharedBuffer? buffer = places[place];
            if (buffer is null || buffer.Cookie == cookie)
            {
                return buffer;
            }

            place = (place + 1) & (places.Length - 1);
        }

        return null;
    }

    /// <summary>Enters a buffer; refuses a cookie that is there already, and if the table cannot grow.</summary>
    public bool TryAdd(SharedBuffer buffer)
    {
        if (Count == capacity || ((Count + 1) * 2 > _places.Length && !TryGrow()))
        {
            return false;
        }

        int place = Home(buffer.Cookie);
        while (_places[place] is { } other)
        {
            if (other.Cookie == buffer.Cookie)
            {
                return false;
            }

            place = Next(place);
        }

        _places[place] = buffer;
        Count++;
        return true;
    }

    /// <summary>Takes a buffer out, shifting back those that the gap would hide.</summary>
    public SharedBuffer? Remove(ulong cookie)
    {
        int place = Home(cookie);
        while (_places[place] is { } candidate && candidate.Cookie != cookie)
        {
            place = Next(place);
        }

        SharedBuffer? removed = _places[place];
        if (removed is null)
        {
            return null;
        }

        int gap = place;
        for (int next = Next(gap); _places[next] is { } follower; next = Next(next))
        {
            // It may fill the gap if its home is not behind the gap: the way from home to where it is passes the gap.
            int home = Home(follower.Cookie);
            if (((next - home) & (_places.Length - 1)) >= ((next - gap) & (_places.Length - 1)))
            {
                _places[gap] = follower;
                gap = next;
            }
        }

        _places[gap] = null;
        Count--;
        return removed;
    }

    /// <summary>Takes any one buffer out.</summary>
    public SharedBuffer? RemoveAny()
    {
        for (int step = 0; step < _places.Length; step++, _searchFrom = Next(_searchFrom))
        {
            if (_places[_searchFrom] is { } buffer)
            {
                return Remove(buffer.Cookie);
            }
        }

        return null;
    }

    /// <summary>All buffers, in no order.</summary>
    public IEnumerable<SharedBuffer> All => _places.OfType<SharedBuffer>();

    /// <summary>For tests: how many places a search for a cookie looks at.</summary>
    internal int CountProbes(ulong cookie)
    {
        int probes = 1;
        for (int place = Home(cookie); _places[place] is { } buffer && buffer.Cookie != cookie; place = Next(place))
        {
            probes++;
        }

        return probes;
    }

    private bool TryGrow()
    {
        SharedBuffer?[] larger;
        try
        {
            larger = new SharedBuffer?[_places.Length * 2];
        }
        catch (OutOfMemoryException)
        {
            return false;
        }

        foreach (SharedBuffer? buffer in _places)
        {
            if (buffer is not null)
            {
                int place = _hash.PlaceOf(buffer.Cookie, larger.Length);
                while (larger[place] is not null)
                {
                    place = (place + 1) & (larger.Length - 1);
                }

                larger[place] = buffer;
            }
        }

        _places = larger;
        _searchFrom = 0;
        return true;
    }

    private int Home(ulong cookie) => _hash.PlaceOf(cookie, _places.Length);

    private int Next(int place) => (place + 1) & (_places.Length - 1);
}
