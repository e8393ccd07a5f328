using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace OpTeeMediator.Memory;

/// <summary>The 4 KiB guest pages of one buffer, in the buffer's order: contiguous or scattered.</summary>
/// <remarks>What is pinned as one. The content does not change between <see cref="IGuestMemory.TryPin"/> and
/// <see cref="IGuestMemory.Unpin"/>, and may be read by any thread in between.</remarks>
public sealed class GuestPages
{
    /// <summary>A page's size in bytes, whatever guest and host have: 4096 (OPTEE_MSG_NONCONTIG_PAGE_SIZE).</summary>
    public const int PageSize = 4096;

    // Its end does not fit 64 bits, so no GuestRange contains it.
    private const ulong LastPage = ulong.MaxValue - (PageSize - 1);

    private ulong[]? _addresses;
    private ulong _first;
    private int _count;

    // From the lowest page to the highest one, of scattered pages.
    private GuestRange _extent;

    /// <summary>Creates a list of no pages, to be filled by its owner.</summary>
    internal GuestPages()
    {
    }

    /// <summary>Creates a list of pages.</summary>
    /// <param name="addresses">The pages' addresses, each a multiple of 4096 and at most 2⁶⁴ − 8192, so that the page's
    /// end fits 64 bits; at least one; they are copied.</param>
    /// <exception cref="ArgumentException">There is no page, one is not aligned, or one is the very last.</exception>
    public GuestPages(ReadOnlySpan<ulong> addresses)
    {
        if (addresses.IsEmpty)
        {
            throw new ArgumentException("A buffer has at least one page.", nameof(addresses));
        }

        if (!Examine(addresses, out bool contiguous, out GuestRange extent))
        {
            throw new ArgumentException(
                $"Every page address must be a multiple of {PageSize}, and not the last page of all, "
                + $"which no {nameof(GuestRange)} contains.",
                nameof(addresses));
        }

        Set(addresses[0], addresses.Length, contiguous ? null : addresses.ToArray(), extent);
    }

    /// <summary>The number of pages, at least 1.</summary>
    public int Count => _count;

    /// <summary>Whether the pages follow each other in guest addresses.</summary>
    public bool IsContiguous => _addresses is null;

    /// <summary>The neighbours in the <see cref="PinSet"/> that holds these pages.</summary>
    internal GuestPages? Next { get; set; }

    internal GuestPages? Previous { get; set; }

    internal PinSet? Holder { get; set; }

    /// <summary>The address of a page.</summary>
    /// <param name="index">The page, 0 to <see cref="Count"/> − 1.</param>
    /// <exception cref="ArgumentOutOfRangeException">There is no such page.</exception>
    public GuestAddress this[int index]
    {
        get
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)index, (uint)_count, nameof(index));
            return _addresses is null ? _first + ((ulong)index * PageSize) : _addresses[index];
        }
    }

    /// <summary>Whether every page lies entirely in one of <paramref name="regions"/>.</summary>
    /// <param name="regions">The guest's RAM, in any order.</param>
    public bool IsWithin(ReadOnlySpan<GuestRange> regions)
    {
        if (_addresses is null)
        {
            return IsWithin(regions, new GuestRange(_first, (ulong)_count * PageSize));
        }

        foreach (ref readonly GuestRange region in regions)
        {
            if (region.Contains(_extent.Start, _extent.Length))
            {
                return true;
            }
        }

        return EachIn(regions, _addresses.AsSpan(0, _count));
    }

    /// <summary>Whether a page shares a byte with <paramref name="range"/>.</summary>
    /// <param name="range">The range to be unmapped or discarded, say.</param>
    public bool Overlaps(GuestRange range)
    {
        if (_addresses is null)
        {
            return range.Overlaps(new GuestRange(_first, (ulong)_count * PageSize));
        }

        if (!range.Overlaps(_extent))
        {
            return false;
        }

        foreach (ulong address in _addresses.AsSpan(0, _count))
        {
            // Distances in both directions, and no sums.
            if (unchecked((address - range.Start.Value < range.Length) || (range.Start.Value - address < PageSize)))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>The longest run of contiguous guest memory that begins at <paramref name="offset"/>.</summary>
    /// <param name="offset">A byte offset from the start of the first page, below <see cref="Count"/> × 4096.</param>
    /// <returns>The run, to the end of the pages at the most.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The offset is behind the last page.</exception>
    public GuestRange RunAt(ulong offset)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(offset, (ulong)_count * PageSize);
        _ = TryGetRun(offset, out GuestRange run);
        return run;
    }

    /// <summary>As <see cref="RunAt"/>, and harmless beside a change of the list: then wrong at worst.</summary>
    internal bool TryGetRun(ulong offset, out GuestRange run)
    {
        ulong[]? addresses = _addresses;
        ulong first = _first;
        int count = _count;
        run = default;
        if (offset >= (ulong)count * PageSize)
        {
            return false;
        }

        if (addresses is null)
        {
            if (first > ulong.MaxValue - ((ulong)count * PageSize))
            {
                return false;
            }

            run = new GuestRange(first + offset, ((ulong)count * PageSize) - offset);
            return true;
        }

        ReadOnlySpan<ulong> pages = addresses.AsSpan(0, Math.Min(count, addresses.Length));
        int index = (int)(offset / PageSize);
        if (index >= pages.Length)
        {
            return false;
        }

        int last = index;
        while (last + 1 < pages.Length && pages[last + 1] == pages[last] + PageSize)
        {
            last++;
        }

        ulong within = offset % PageSize;
        ulong length = ((ulong)(last - index + 1) * PageSize) - within;
        if (pages[index] > ulong.MaxValue - within - length)
        {
            return false;
        }

        run = new GuestRange(pages[index] + within, length);
        return true;
    }

    /// <summary>Checks the alignment of page addresses and finds out whether they are contiguous.</summary>
    /// <param name="addresses">A private copy of the addresses, at least one.</param>
    /// <param name="contiguous">Whether each page follows the one before it.</param>
    /// <param name="extent">From the lowest page to the highest one.</param>
    /// <returns><see langword="false"/> if an address is not a multiple of 4096, or is the last page of all, whose end
    /// would not fit 64 bits.</returns>
    internal static bool Examine(ReadOnlySpan<ulong> addresses, out bool contiguous, out GuestRange extent)
    {
        ulong unaligned = 0;
        ulong strays = 0;
        int index = 0;
        ulong expected = addresses[0];
        ulong lowest = expected;
        ulong highest = expected;
        if (Vector256.IsHardwareAccelerated && addresses.Length >= Vector256<ulong>.Count)
        {
            Vector256<ulong> bits = Vector256<ulong>.Zero;
            Vector256<ulong> differences = Vector256<ulong>.Zero;
            Vector256<ulong> minima = Vector256.Create(expected);
            Vector256<ulong> maxima = minima;
            Vector256<ulong> expectations = Vector256.Create(expected) + (Vector256<ulong>.Indices * PageSize);
            ref ulong source = ref MemoryMarshal.GetReference(addresses);
            for (; index <= addresses.Length - Vector256<ulong>.Count; index += Vector256<ulong>.Count)
            {
                Vector256<ulong> four = Vector256.LoadUnsafe(ref source, (nuint)index);
                bits |= four;
                minima = Vector256.Min(minima, four);
                maxima = Vector256.Max(maxima, four);
                differences |= four ^ expectations;
                expectations += Vector256.Create((ulong)Vector256<ulong>.Count * PageSize);
            }

            unaligned = bits[0] | bits[1] | bits[2] | bits[3];
            strays = differences[0] | differences[1] | differences[2] | differences[3];
            lowest = ulong.Min(ulong.Min(minima[0], minima[1]), ulong.Min(minima[2], minima[3]));
            highest = ulong.Max(ulong.Max(maxima[0], maxima[1]), ulong.Max(maxima[2], maxima[3]));
            expected += (ulong)index * PageSize;
        }

        for (; index < addresses.Length; index++, expected += PageSize)
        {
            unaligned |= addresses[index];
            strays |= addresses[index] ^ expected;
            lowest = ulong.Min(lowest, addresses[index]);
            highest = ulong.Max(highest, addresses[index]);
        }

        contiguous = strays == 0;
        bool arePages = (unaligned & (PageSize - 1)) == 0 && highest < LastPage;
        extent = arePages ? new GuestRange(lowest, highest - lowest + PageSize) : default;
        return arePages;
    }

    /// <summary>Fills the list.</summary>
    /// <param name="first">The first page.</param>
    /// <param name="count">The number of pages.</param>
    /// <param name="addresses">All pages if they are scattered; the array may be longer. <see langword="null"/> if
    /// they are contiguous.</param>
    /// <param name="extent">From the lowest page to the highest one, if they are scattered.</param>
    internal void Set(ulong first, int count, ulong[]? addresses, GuestRange extent)
    {
        Debug.Assert(Holder is null, "Pinned pages do not change.");
        _first = first;
        _count = count;
        _addresses = addresses;
        _extent = extent;
    }

    /// <summary>Empties the list and hands back its array, if the pages were scattered, to be pooled.</summary>
    internal ulong[]? Clear()
    {
        ulong[]? addresses = _addresses;
        Set(0, 0, null, default);
        return addresses;
    }

    private static bool IsWithin(ReadOnlySpan<GuestRange> regions, GuestRange range)
    {
        foreach (ref readonly GuestRange region in regions)
        {
            if (region.Contains(range.Start, range.Length))
            {
                return true;
            }

            // The run may go on in a region that follows without a gap.
            if (region.Contains(range.Start, 1))
            {
                return IsWithin(regions,
                    new GuestRange(region.End, range.Length - (region.End.Value - range.Start.Value)));
            }
        }

        return false;
    }

    private static bool EachIn(ReadOnlySpan<GuestRange> regions, ReadOnlySpan<ulong> addresses)
    {
        foreach (ulong address in addresses)
        {
            if (address > ulong.MaxValue - PageSize || !IsWithin(regions, new GuestRange(address, PageSize)))
            {
                return false;
            }
        }

        return true;
    }
}
