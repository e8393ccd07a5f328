using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Linux.Memory;

/// <summary>The regions of a VM at one time, in the order of their guest addresses.</summary>
/// <remarks>Immutable: readers take one reference and work with it, and a change of the regions publishes another
/// table. The first region's bounds are copied here so that one region costs one indirection.</remarks>
internal sealed unsafe class RegionTable
{
    internal static readonly RegionTable Empty = new([]);

    private readonly ulong _start;
    private readonly ulong _length;
    private readonly byte* _pointer;
    private readonly MappedRegion[] _regions;
    private readonly GuestRange[] _ranges;

    internal RegionTable(MappedRegion[] regions)
    {
        _regions = regions;
        _ranges = [.. regions.Select(region => region.Range)];
        if (regions.Length != 0)
        {
            _start = regions[0].Range.Start.Value;
            _length = regions[0].Range.Length;
            _pointer = regions[0].Pointer;
        }
    }

    internal ReadOnlySpan<MappedRegion> Regions => _regions;

    internal ReadOnlySpan<GuestRange> Ranges => _ranges;

    /// <summary>Finds the host address of a range that lies in one region.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal byte* Find(ulong address, ulong length)
    {
        ulong offset = unchecked(address - _start);
        return offset <= _length && length <= _length - offset ? _pointer + offset : FindInOthers(address, length);
    }

    /// <summary>Finds the region that contains a whole range.</summary>
    internal bool TryFindRegion(GuestRange range, [NotNullWhen(true)] out MappedRegion? region)
    {
        foreach (MappedRegion candidate in _regions)
        {
            if (candidate.Range.Contains(range.Start, range.Length))
            {
                region = candidate;
                return true;
            }
        }

        region = null;
        return false;
    }

    /// <summary>Whether every byte of a range is guest RAM, perhaps of several regions without a gap.</summary>
    internal bool Covers(ulong address, ulong length) =>
        length == 0 || (address <= ulong.MaxValue - length && IndexOfCovered(address, length) >= 0);

    /// <summary>Copies a range that may cross region borders. Copies nothing if a byte is not guest RAM.</summary>
    internal bool TryRead(ulong address, Span<byte> destination)
    {
        fixed (byte* buffer = destination)
        {
            return TryCopy(address, buffer, (ulong)destination.Length, toGuest: false);
        }
    }

    /// <inheritdoc cref="TryRead"/>
    internal bool TryWrite(ulong address, ReadOnlySpan<byte> source)
    {
        fixed (byte* buffer = source)
        {
            return TryCopy(address, buffer, (ulong)source.Length, toGuest: true);
        }
    }

    private bool TryCopy(ulong address, byte* buffer, ulong length, bool toGuest)
    {
        if (!Covers(address, length))
        {
            return false;
        }

        if (length == 0)
        {
            return true;
        }

        for (int index = IndexOfCovered(address, length); length != 0; index++)
        {
            MappedRegion region = _regions[index];
            ulong offset = address - region.Range.Start.Value;
            ulong count = ulong.Min(length, region.Range.Length - offset);
            byte* source = toGuest ? buffer : region.Pointer + offset;
            byte* target = toGuest ? region.Pointer + offset : buffer;
            Buffer.MemoryCopy(source, target, count, count);
            address += count;
            buffer += count;
            length -= count;
        }

        return true;
    }

    private byte* FindInOthers(ulong address, ulong length)
    {
        foreach (MappedRegion region in _regions)
        {
            if (region.Range.Contains(address, length))
            {
                return region.Pointer + (address - region.Range.Start.Value);
            }
        }

        return null;
    }

    /// <summary>The index of the region where a range begins that is covered without a gap, or -1.</summary>
    private int IndexOfCovered(ulong address, ulong length)
    {
        for (int first = 0; first < _regions.Length; first++)
        {
            if (!_ranges[first].Contains(address, 1))
            {
                continue;
            }

            ulong end = address + length;
            int last = first;
            while (_ranges[last].End.Value < end)
            {
                if (last + 1 == _regions.Length || _ranges[last + 1].Start != _ranges[last].End)
                {
                    return -1;
                }

                last++;
            }

            return first;
        }

        return -1;
    }
}
