using System.Runtime.InteropServices;
using OpTeeMediator.Backends;
using OpTeeMediator.Kvm.SystemCalls;

namespace OpTeeMediator.Linux.LinuxTee;

/// <summary>A second, contiguous mapping of a buffer's scattered pages, while it is registered with the TEE.</summary>
/// <remarks>
/// <code>
/// guest memory file   ┃ … ┃ C ┃ … ┃ A ┃ … ┃ B ┃
/// this mapping        ┃ lead │A ┃ B ┃ C│ ┃        the buffer begins at Address, within its first granule
/// </code>
/// The pages are the guest's own: the TEE pins them, and the mapping can go. Only for files, and pieces that are made
/// of whole mapping granules but for the buffer's two ends.
/// </remarks>
internal sealed class ContiguousMapping : IDisposable
{
    private readonly nint _reserved;
    private readonly nuint _reservedLength;

    private ContiguousMapping(nint reserved, nuint reservedLength, nint address)
    {
        _reserved = reserved;
        _reservedLength = reservedLength;
        Address = address;
    }

    /// <summary>Where the buffer begins.</summary>
    internal nint Address { get; }

    public void Dispose() => _ = LibC.Unmap(_reserved, _reservedLength);

    /// <summary>Maps a buffer, unless it has no file, its pieces do not fit together, or the kernel refuses.</summary>
    internal static ContiguousMapping? TryCreate(TeeSharedMemory memory)
    {
        int granuleSize = memory.MappingGranule;
        if (granuleSize < Environment.SystemPageSize || !int.IsPow2(granuleSize)
            || !memory.TryGetFile(0, out _, out long firstOffset, out _))
        {
            return null;
        }

        ulong granule = (ulong)granuleSize;
        ulong lead = (ulong)firstOffset & (granule - 1);
        ulong total = RoundUp(lead + memory.Size, granule);

        // Huge pages want aligned addresses, which a longer reservation contains.
        ulong slack = granule - (ulong)Environment.SystemPageSize;
        nuint reservedLength = (nuint)(total + slack);
        const int Flags = LibC.MAP_PRIVATE | LibC.MAP_ANONYMOUS | LibC.MAP_NORESERVE;
        nint reserved = LibC.Map(0, reservedLength, LibC.PROT_NONE, Flags, -1, 0);
        if (reserved == LibC.MapFailed)
        {
            return null;
        }

        ulong start = RoundUp((ulong)reserved, granule);
        ContiguousMapping mapping = new(reserved, reservedLength, (nint)(start + lead));
        bool isMapped = false;
        try
        {
            isMapped = TryMapPieces(memory, start, lead, granule);
            return isMapped ? mapping : null;
        }
        finally
        {
            // Refused, or the VMM's guest memory has thrown.
            if (!isMapped)
            {
                mapping.Dispose();
            }
        }
    }

    private static bool TryMapPieces(TeeSharedMemory memory, ulong start, ulong lead, ulong granule)
    {
        ulong mask = granule - 1;
        for (ulong offset = 0; offset < memory.Size;)
        {
            if (!memory.TryGetFile(offset, out SafeHandle file, out long fileOffset, out ulong length))
            {
                return false;
            }

            length = ulong.Min(length, memory.Size - offset);
            ulong position = lead + offset;
            ulong end = position + length;
            bool isLast = offset + length == memory.Size;
            if (length == 0 || (position & mask) != ((ulong)fileOffset & mask)
                || (offset != 0 && (position & mask) != 0) || (!isLast && (end & mask) != 0))
            {
                return false;
            }

            ulong within = position & mask;
            nint address = (nint)(start + position - within);
            nint mapped = LibC.Map(
                address, (nuint)(RoundUp(end, granule) - (position - within)), LibC.PROT_READ | LibC.PROT_WRITE,
                LibC.MAP_SHARED | LibC.MAP_FIXED, file, fileOffset - (long)within);
            if (mapped != address)
            {
                return false;
            }

            offset += length;
        }

        return true;
    }

    private static ulong RoundUp(ulong value, ulong granule) => (value + granule - 1) & ~(granule - 1);
}
