using System.Runtime.InteropServices;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Linux.Memory;

/// <summary>One region of guest RAM in this process.</summary>
/// <remarks>Immutable but for its end, which <see cref="MappedGuestMemory"/> orders.</remarks>
internal sealed unsafe class MappedRegion(GuestRange range, nint address, SafeHandle? file, long fileOffset)
{
    internal GuestRange Range { get; } = range;

    internal nint Address { get; } = address;

    internal SafeHandle? File { get; } = file;

    internal long FileOffset { get; } = fileOffset;

    /// <summary>Whether the library has made file and mapping.</summary>
    internal bool IsOwned { get; init; }

    internal byte* Pointer => (byte*)Address;

    /// <summary>The host addresses; <see cref="GuestRange"/> has the arithmetic of any addresses.</summary>
    internal GuestRange HostRange => new((ulong)Address, Range.Length);

    /// <summary>How many other VMs map the region. Guarded by the lock of <see cref="MappedGuestMemory"/>.</summary>
    internal int Holds { get; set; }

    /// <summary>Whether pins have outlived the region. Guarded by the same lock.</summary>
    internal bool IsDeferred { get; set; }

    /// <summary>Where a guest address of the region lies in the file.</summary>
    internal long OffsetOf(GuestAddress address) => FileOffset + (long)(address.Value - Range.Start.Value);

    /// <summary>Gives the host pages back; they read as zero then.</summary>
    /// <exception cref="SystemCallException">The kernel refused.</exception>
    internal void Discard(GuestRange part)
    {
        int answer;
        do
        {
            answer = File is null ? DiscardMapping(part) : PunchHole(File, part);
        }
        while (answer < 0 && Errno.Last == Errno.EINTR);

        if (answer < 0)
        {
            throw new SystemCallException(
                $"Discarding guest RAM {part} ({part.Length} bytes)", Errno.Last,
                "EACCES: memory without a file must be shared or anonymous. EOPNOTSUPP: the file cannot have holes.");
        }
    }

    private int PunchHole(SafeHandle file, GuestRange part) => LibC.Allocate(
        file, LibC.FALLOC_FL_PUNCH_HOLE | LibC.FALLOC_FL_KEEP_SIZE, OffsetOf(part.Start), (long)part.Length);

    private int DiscardMapping(GuestRange part)
    {
        // What is shared keeps its pages after MADV_DONTNEED; MADV_REMOVE refuses what is private and anonymous.
        nint address = Address + (nint)(part.Start.Value - Range.Start.Value);
        int answer = LibC.Advise(address, (nuint)part.Length, LibC.MADV_REMOVE);
        return answer < 0 && Errno.Last == Errno.EINVAL
            ? LibC.Advise(address, (nuint)part.Length, LibC.MADV_DONTNEED)
            : answer;
    }
}
