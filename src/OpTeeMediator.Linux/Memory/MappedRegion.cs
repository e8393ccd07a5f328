using System.Globalization;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Linux.Memory;

/// <summary>One region of guest RAM: a file in memory and its mapping.</summary>
/// <remarks>Immutable but for its end, which <see cref="MemfdGuestMemory"/> orders.</remarks>
internal sealed unsafe class MappedRegion
{
    private readonly SafeFileHandle _file;

    private MappedRegion(GuestRange range, SafeFileHandle file, nint address)
    {
        Range = range;
        _file = file;
        Address = address;
    }

    internal GuestRange Range { get; }

    /// <summary>Where the region lies in this process.</summary>
    internal nint Address { get; }

    internal SafeHandle File => _file;

    internal byte* Pointer => (byte*)Address;

    /// <summary>How many other VMs map the region. Guarded by the lock of <see cref="MemfdGuestMemory"/>.</summary>
    internal int Holds { get; set; }

    /// <summary>Creates and maps the file.</summary>
    /// <param name="range">The guest addresses.</param>
    /// <param name="name">The file's name.</param>
    /// <param name="hugePageSize">The size of huge pages in bytes, or 0.</param>
    /// <param name="reserved">Reserved addresses to be used, or 0 for any that are free. On failure they may be reserved no more.</param>
    /// <exception cref="SystemCallException">The host has no such memory.</exception>
    internal static MappedRegion Create(GuestRange range, string name, int hugePageSize, nint reserved)
    {
        uint flags = LibC.MFD_CLOEXEC | LibC.MFD_ALLOW_SEALING;
        if (hugePageSize != 0)
        {
            flags |= LibC.MFD_HUGETLB | ((uint)int.Log2(hugePageSize) << LibC.MFD_HUGE_SHIFT);
        }

        int descriptor = LibC.CreateMemoryFile(name, flags);
        if (descriptor < 0)
        {
            throw new SystemCallException(
                "memfd_create for guest RAM",
                Errno.Last,
                hugePageSize == 0
                    ? "EMFILE, ENFILE: too many files are open in this process or on this host."
                    : string.Create(CultureInfo.InvariantCulture, $"ENODEV: this host has no huge pages of {hugePageSize} bytes; see /sys/kernel/mm/hugepages."));
        }

        SafeFileHandle file = Descriptor.Own(descriptor);
        try
        {
            Check(LibC.SetLength(file, (long)range.Length), "ftruncate", range, "");

            // Whoever gets the file (a TEE in another process) can neither shrink it under this process nor grow it.
            Check(LibC.Control(file, LibC.F_ADD_SEALS, LibC.F_SEAL_SHRINK | LibC.F_SEAL_GROW | LibC.F_SEAL_SEAL), "Sealing the file", range, "");
            int flagsOfMapping = LibC.MAP_SHARED | (reserved == 0 ? 0 : LibC.MAP_FIXED);
            nint address = LibC.Map(reserved, (nuint)range.Length, LibC.PROT_READ | LibC.PROT_WRITE, flagsOfMapping, file, 0);
            Check(
                address == LibC.MapFailed ? -1 : 0,
                "mmap",
                range,
                hugePageSize == 0 ? "ENOMEM: the address space or the host's memory is used up." : "ENOMEM: the host has reserved too few huge pages (/proc/sys/vm/nr_hugepages).");

            // A core dump of the VMM is not a dump of its guests; without effect on anything else, so a refusal is no error.
            _ = LibC.Advise(address, (nuint)range.Length, LibC.MADV_DONTDUMP);
            return new MappedRegion(range, file, address);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Gives the host pages back; they read as zero then.</summary>
    /// <exception cref="SystemCallException">The kernel refused.</exception>
    internal void Discard(GuestRange part)
    {
        int answer;
        do
        {
            answer = LibC.Allocate(_file, LibC.FALLOC_FL_PUNCH_HOLE | LibC.FALLOC_FL_KEEP_SIZE, (long)(part.Start.Value - Range.Start.Value), (long)part.Length);
        }
        while (answer < 0 && Errno.Last == Errno.EINTR);

        Check(answer, "fallocate (punch hole)", part, "");
    }

    /// <summary>Lets go of the memory but keeps its addresses: whoever still uses a window reads zeroes and writes nowhere.</summary>
    /// <returns><see langword="false"/> if the kernel refused, with nothing changed; the error is <see cref="Errno.Last"/>.</returns>
    internal bool TryReplaceByNothing()
    {
        const int Flags = LibC.MAP_PRIVATE | LibC.MAP_ANONYMOUS | LibC.MAP_NORESERVE | LibC.MAP_FIXED;
        if (LibC.Map(Address, (nuint)Range.Length, LibC.PROT_READ | LibC.PROT_WRITE, Flags, -1, 0) == LibC.MapFailed)
        {
            return false;
        }

        _file.Dispose();
        return true;
    }

    internal void Unmap()
    {
        _ = LibC.Unmap(Address, (nuint)Range.Length);
        _file.Dispose();
    }

    private static void Check(int answer, string operation, GuestRange range, string advice)
    {
        if (answer < 0)
        {
            throw new SystemCallException(string.Create(CultureInfo.InvariantCulture, $"{operation} for guest RAM {range} ({range.Length} bytes)"), Errno.Last, advice);
        }
    }
}
