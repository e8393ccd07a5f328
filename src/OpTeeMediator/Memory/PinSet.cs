namespace OpTeeMediator.Memory;

/// <summary>The pins on one guest memory, which it asks before it unmaps or discards a page.</summary>
/// <remarks>
/// <para>Adding and removing take constant time and allocate nothing, whatever the number of pages; the price is paid
/// by the rare <see cref="Overlaps"/>, which looks at every pinned page. Thread-safe.</para>
/// <para>Use: <c>TryPin</c> adds the pages first and then checks them against the current regions, removing them again
/// if they are not within; a removal of a region publishes the new regions first and then asks <see cref="Overlaps"/>.
/// One of the two always sees the other: who comes second reads the word below with acquire, after the first has
/// written it with release, and so sees what the first did before (the pin, or the new regions).</para>
/// </remarks>
public sealed class PinSet
{
    // Whether a thread is inside: taken by a compare-and-swap (acquire), given back by a write with release. Two locked
    // instructions fewer for a buffer than with a lock of .NET.
    private int _isHeld;
    private GuestPages? _first;
    private int _count;

    /// <summary>The number of pins.</summary>
    public int Count => Volatile.Read(ref _count);

    /// <summary>Adds a pin.</summary>
    /// <param name="pages">The pages, which are in no set yet.</param>
    /// <exception cref="ArgumentNullException"><paramref name="pages"/> is <see langword="null"/>.</exception>
    /// <exception cref="InvalidOperationException">The pages are pinned already.</exception>
    public void Add(GuestPages pages)
    {
        ArgumentNullException.ThrowIfNull(pages);
        Enter();
        bool isFree = pages.Holder is null;
        if (isFree)
        {
            pages.Holder = this;
            pages.Next = _first;
            if (_first is not null)
            {
                _first.Previous = pages;
            }

            _first = pages;
            Volatile.Write(ref _count, _count + 1);
        }

        Exit();
        if (!isFree)
        {
            throw new InvalidOperationException(
                "These pages are pinned already; each pin needs a page list of its own.");
        }
    }

    /// <summary>Removes a pin.</summary>
    /// <param name="pages">Pages of this set.</param>
    /// <returns>The number of pins left.</returns>
    /// <exception cref="ArgumentNullException"><paramref name="pages"/> is <see langword="null"/>.</exception>
    /// <exception cref="InvalidOperationException">The pages are not pinned in this set.</exception>
    public int Remove(GuestPages pages)
    {
        ArgumentNullException.ThrowIfNull(pages);
        Enter();
        bool isHeld = pages.Holder == this;
        if (isHeld)
        {
            Unlink(pages);
        }

        int left = _count;
        Exit();
        return isHeld ? left : throw new InvalidOperationException("These pages are not pinned in this set.");
    }

    /// <summary>Whether a pinned page shares a byte with <paramref name="range"/>.</summary>
    /// <returns><see langword="true"/> if one does; time grows with the number of pinned pages.</returns>
    public bool Overlaps(GuestRange range)
    {
        Enter();
        GuestPages? pages = _first;
        while (pages is not null && !pages.Overlaps(range))
        {
            pages = pages.Next;
        }

        Exit();
        return pages is not null;
    }

    private void Unlink(GuestPages pages)
    {
        if (pages.Previous is null)
        {
            _first = pages.Next;
        }
        else
        {
            pages.Previous.Next = pages.Next;
        }

        pages.Next?.Previous = pages.Previous;
        pages.Holder = null;
        pages.Next = null;
        pages.Previous = null;
        Volatile.Write(ref _count, _count - 1);
    }

    private void Enter()
    {
        if (Interlocked.CompareExchange(ref _isHeld, 1, 0) != 0)
        {
            WaitAndEnter();
        }
    }

    private void WaitAndEnter()
    {
        SpinWait spin = default;
        do
        {
            spin.SpinOnce();
        }
        while (Volatile.Read(ref _isHeld) != 0 || Interlocked.CompareExchange(ref _isHeld, 1, 0) != 0);
    }

    private void Exit() => Volatile.Write(ref _isHeld, 0);
}
