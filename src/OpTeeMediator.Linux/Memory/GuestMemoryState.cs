using System.Collections.Immutable;
using System.Diagnostics.CodeAnalysis;
using System.Text;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Linux.Memory;

/// <summary>Saves and restores the content of guest RAM.</summary>
/// <remarks>
/// <code>
/// number of regions (4 bytes)    each: start, length (8 bytes each)
/// runs of pages that are not zero: address (8), number of pages (4), the pages of 4 KiB; in ascending order
/// end: address of all ones (8), 0 (4)
/// </code>
/// <para>Numbers are little endian. Pages that were never touched cost nothing. Thread-safe, but what others write
/// meanwhile is saved or not.</para>
/// <para>A VM that runs is moved with <see cref="TrackedGuestMemory"/>: <see cref="Save"/> after tracking has begun,
/// and then, in rounds, <see cref="SavePages"/> with the pages that were written; the last time when nobody writes any
/// more. The other side calls <see cref="Restore"/>, and <see cref="RestorePages"/> for each round.</para>
/// </remarks>
[Experimental("OPTEE001")]
public static class GuestMemoryState
{
    private const int PageSize = 4096;

    // 1 MiB.
    private const int LongestRun = 256;
    private const ulong End = ulong.MaxValue;

    /// <summary>Writes the content of guest RAM.</summary>
    /// <param name="memory">The memory; nobody writes to it meanwhile.</param>
    /// <param name="target">Where it is written.</param>
    /// <exception cref="ArgumentNullException">An argument is <see langword="null"/>.</exception>
    public static void Save(MappedGuestMemory memory, Stream target)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(target);
        using IDisposable hold = memory.Hold(out ImmutableArray<MappedMemoryRegion> regions);
        _ = SaveHeld(memory, regions, target);
    }

    /// <summary>The same of memory that is held; returns how many pages were written.</summary>
    internal static long SaveHeld(
        MappedGuestMemory memory, ImmutableArray<MappedMemoryRegion> regions, Stream target)
    {
        using BinaryWriter writer = new(target, Encoding.UTF8, leaveOpen: true);
        long written = 0;
        writer.Write(regions.Length);
        foreach (MappedMemoryRegion region in regions)
        {
            writer.Write(region.Range.Start.Value);
            writer.Write(region.Range.Length);
        }

        foreach (MappedMemoryRegion region in regions)
        {
            for (ulong offset = 0; TryFindData(region, ref offset, out ulong end); offset = end)
            {
                written += SaveNonZero(
                    memory, writer, region.Range.Start.Add(offset), (end - offset) / PageSize);
            }
        }

        writer.Write(End);
        writer.Write(0);
        return written;
    }

    /// <summary>Fills guest RAM with what was saved.</summary>
    /// <param name="memory">The memory, with the same regions and all zero, as new memory is.</param>
    /// <param name="source">What <see cref="Save"/> has written.</param>
    /// <exception cref="ArgumentNullException">An argument is <see langword="null"/>.</exception>
    /// <exception cref="InvalidDataException">The regions are others, or the content makes no sense; the memory is to
    /// be disposed of.</exception>
    public static void Restore(MappedGuestMemory memory, Stream source)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(source);
        using BinaryReader reader = new(source, Encoding.UTF8, leaveOpen: true);
        try
        {
            CheckRegions(memory, reader);
        }
        catch (EndOfStreamException)
        {
            throw EndsTooEarly();
        }

        RestorePages(memory, source);
    }

    /// <summary>Writes the content of some pages, those that are zero too.</summary>
    /// <param name="memory">The memory; others may write to it.</param>
    /// <param name="pages">The pages, as <see cref="TrackedGuestMemory.TakeWritten"/> names them.</param>
    /// <param name="target">Where they are written.</param>
    /// <returns>How many pages were written: those that are guest RAM.</returns>
    /// <exception cref="ArgumentNullException">An argument is <see langword="null"/>.</exception>
    /// <exception cref="ArgumentException">The ranges are not whole pages in ascending order.</exception>
    public static long SavePages(MappedGuestMemory memory, IReadOnlyList<GuestRange> pages, Stream target)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(pages);
        ArgumentNullException.ThrowIfNull(target);
        using IDisposable hold = memory.Hold(out _);
        return SaveHeldPages(memory, pages, target);
    }

    /// <summary>The same of memory that is held.</summary>
    internal static long SaveHeldPages(MappedGuestMemory memory, IReadOnlyList<GuestRange> pages, Stream target)
    {
        using BinaryWriter writer = new(target, Encoding.UTF8, leaveOpen: true);
        long written = 0;
        ulong free = 0;
        foreach (GuestRange range in pages)
        {
            if (range.Start.Value < free || range.Start.Value % PageSize != 0 || range.Length % PageSize != 0)
            {
                throw new ArgumentException($"{range} is no range of whole pages after 0x{free:x}.", nameof(pages));
            }

            free = range.End.Value;
            for (ulong offset = 0; offset < range.Length; offset += LongestRun * (ulong)PageSize)
            {
                int length = (int)ulong.Min(range.Length - offset, LongestRun * (ulong)PageSize);
                GuestAddress address = range.Start.Add(offset);
                if (memory.TryGetWindow(address, length, out Span<byte> window))
                {
                    writer.Write(address.Value);
                    writer.Write(length / PageSize);
                    writer.Write(window);
                    written += length / PageSize;
                }
            }
        }

        writer.Write(End);
        writer.Write(0);
        return written;
    }

    /// <summary>Puts pages into guest RAM.</summary>
    /// <param name="memory">The memory, with the regions of the memory that the pages are of.</param>
    /// <param name="source">What <see cref="SavePages"/> has written.</param>
    /// <exception cref="ArgumentNullException">An argument is <see langword="null"/>.</exception>
    /// <exception cref="InvalidDataException">Something is no page of the memory, comes twice, or is missing; the
    /// memory is to be disposed of.</exception>
    public static void RestorePages(MappedGuestMemory memory, Stream source)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(source);
        using BinaryReader reader = new(source, Encoding.UTF8, leaveOpen: true);
        try
        {
            ulong free = 0;
            while (true)
            {
                ulong address = reader.ReadUInt64();
                uint pages = reader.ReadUInt32();
                if (address == End && pages == 0)
                {
                    return;
                }

                if (address < free || address % PageSize != 0 || pages is 0 or > LongestRun
                    || !memory.TryGetWindow(address, (int)pages * PageSize, out Span<byte> window))
                {
                    throw new InvalidDataException(
                        $"The saved state has {pages} pages at 0x{address:x}, where they cannot be.");
                }

                source.ReadExactly(window);
                free = address + (pages * (ulong)PageSize);
            }
        }
        catch (EndOfStreamException)
        {
            throw EndsTooEarly();
        }
    }

    private static InvalidDataException EndsTooEarly() => new("The saved state of the memory ends too early.");

    private static void CheckRegions(MappedGuestMemory memory, BinaryReader reader)
    {
        ImmutableArray<MappedMemoryRegion> regions = memory.Regions;
        int count = reader.ReadInt32();
        bool isSame = count == regions.Length;
        for (int index = 0; isSame && index < count; index++)
        {
            GuestRange range = regions[index].Range;
            isSame = reader.ReadUInt64() == range.Start.Value && reader.ReadUInt64() == range.Length;
        }

        if (!isSame)
        {
            throw new InvalidDataException("The saved state is that of a VM with other memory.");
        }
    }

    /// <summary>Writes the pages that are not zero, and returns how many.</summary>
    private static long SaveNonZero(
        MappedGuestMemory memory, BinaryWriter writer, GuestAddress address, ulong pages)
    {
        long written = 0;
        while (pages > 0)
        {
            int part = (int)ulong.Min(pages, LongestRun);
            if (memory.TryGetWindow(address, part * PageSize, out Span<byte> window))
            {
                written += SaveRuns(writer, address, window);
            }

            pages -= (ulong)part;
            address = address.Add((ulong)part * PageSize);
        }

        return written;
    }

    private static long SaveRuns(BinaryWriter writer, GuestAddress address, ReadOnlySpan<byte> window)
    {
        long written = 0;
        int position = 0;
        while (position < window.Length)
        {
            int start = position;
            while (position < window.Length && window.Slice(position, PageSize).ContainsAnyExcept((byte)0))
            {
                position += PageSize;
            }

            if (position > start)
            {
                writer.Write(address.Add((ulong)start).Value);
                writer.Write((position - start) / PageSize);
                writer.Write(window[start..position]);
                written += (position - start) / PageSize;
            }
            else
            {
                position += PageSize;
            }
        }

        return written;
    }

    /// <summary>Finds what of a region's file has content: reading a hole would allocate its pages.</summary>
    private static bool TryFindData(MappedMemoryRegion region, ref ulong offset, out ulong end)
    {
        end = region.Range.Length;
        if (offset >= end)
        {
            return false;
        }

        if (region.File is null)
        {
            return true;
        }

        long position = LibC.Seek(region.File, region.FileOffset + (long)offset, LibC.SEEK_DATA);
        if (position < 0)
        {
            // ENXIO: nothing but a hole. Otherwise the file system does not tell.
            return Errno.Last != Errno.ENXIO;
        }

        ulong data = (ulong)(position - region.FileOffset) & ~(ulong)(PageSize - 1);
        if (data >= end)
        {
            return false;
        }

        offset = data;
        long hole = LibC.Seek(region.File, position, LibC.SEEK_HOLE);
        if (hole >= 0)
        {
            ulong rounded = ((ulong)(hole - region.FileOffset) + PageSize - 1) & ~(ulong)(PageSize - 1);
            end = ulong.Min(end, rounded);
        }

        return true;
    }
}
