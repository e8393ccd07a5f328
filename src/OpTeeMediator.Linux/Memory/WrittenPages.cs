using System.Collections.Immutable;
using System.Numerics;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Linux.Memory;

/// <summary>A bit for each page of some regions: whether it was written.</summary>
/// <remarks>Who writes a page sets its bit afterwards, with a full fence; who copies it clears the bit before, with
/// another: so the copy has what was written, or the bit is set again. Thread-safe.</remarks>
internal sealed class WrittenPages
{
    private const int BitsPerWord = 64;

    private readonly GuestRange[] _ranges;
    private readonly ulong[][] _words;

    internal WrittenPages(ImmutableArray<MappedMemoryRegion> regions)
    {
        _ranges = [.. regions.Select(region => region.Range)];
        _words = [.. _ranges.Select(range => new ulong[((PagesOf(range.Length) - 1) / BitsPerWord) + 1])];
    }

    internal void Add(ulong address, ulong length)
    {
        for (int index = 0; index < _ranges.Length; index++)
        {
            ulong start = _ranges[index].Start.Value;
            ulong first = Math.Max(address, start);
            ulong end = Math.Min(unchecked(address + length), _ranges[index].End.Value);
            if (first < end)
            {
                Set(index, (first - start) / GuestPages.PageSize, (end - 1 - start) / GuestPages.PageSize);
            }
        }
    }

    internal List<GuestRange> Take()
    {
        List<GuestRange> written = [];
        for (int index = 0; index < _ranges.Length; index++)
        {
            ulong start = _ranges[index].Start.Value;
            ulong runStart = 0;
            ulong runLength = 0;
            for (int word = 0; word < _words[index].Length; word++)
            {
                ulong bits = Volatile.Read(ref _words[index][word]) == 0
                    ? 0
                    : Interlocked.Exchange(ref _words[index][word], 0);
                while (bits != 0)
                {
                    int bit = BitOperations.TrailingZeroCount(bits);
                    bits &= bits - 1;
                    ulong page = start + (((ulong)word * BitsPerWord) + (ulong)bit) * GuestPages.PageSize;
                    if (runLength != 0 && page == runStart + runLength)
                    {
                        runLength += GuestPages.PageSize;
                        continue;
                    }

                    AddRun(written, runStart, runLength);
                    (runStart, runLength) = (page, GuestPages.PageSize);
                }
            }

            AddRun(written, runStart, runLength);
        }

        return written;
    }

    private static void AddRun(List<GuestRange> written, ulong start, ulong length)
    {
        if (length != 0)
        {
            written.Add(new GuestRange(start, length));
        }
    }

    private static ulong PagesOf(ulong length) => (length + GuestPages.PageSize - 1) / GuestPages.PageSize;

    private void Set(int region, ulong first, ulong last)
    {
        for (ulong page = first; page <= last; page++)
        {
            // Always with a fence: a set bit may be about to be cleared, before the page is copied.
            _ = Interlocked.Or(ref _words[region][page / BitsPerWord], 1UL << (int)(page % BitsPerWord));
        }
    }
}
