using Microsoft.Win32.SafeHandles;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Linux.Memory;

/// <summary>Creates, empties and unmaps regions of guest RAM that are files in memory.</summary>
internal static class MemoryFile
{
    /// <summary>Creates and maps the file: at reserved addresses, or at any that are free if they are 0. After a
    /// failure they may be reserved no more.</summary>
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
                "memfd_create for guest RAM", Errno.Last,
                hugePageSize == 0
                    ? "EMFILE, ENFILE: too many files are open in this process or on this host."
                    : $"ENODEV: this host has no huge pages of {hugePageSize} bytes; see /sys/kernel/mm/hugepages.");
        }

        SafeFileHandle file = Descriptor.Own(descriptor);
        try
        {
            Check(LibC.SetLength(file, (long)range.Length), "ftruncate", range, "");

            // A process that gets the file, as a TEE's, can neither shrink it under this process nor grow it.
            const int Seals = LibC.F_SEAL_SHRINK | LibC.F_SEAL_GROW | LibC.F_SEAL_SEAL;
            Check(LibC.Control(file, LibC.F_ADD_SEALS, Seals), "Sealing the file", range, "");
            int mapping = LibC.MAP_SHARED | (reserved == 0 ? 0 : LibC.MAP_FIXED);
            nuint length = (nuint)range.Length;
            nint address = LibC.Map(reserved, length, LibC.PROT_READ | LibC.PROT_WRITE, mapping, file, 0);
            Check(
                address == LibC.MapFailed ? -1 : 0, "mmap", range,
                hugePageSize == 0
                    ? "ENOMEM: the address space or the host's memory is used up."
                    : "ENOMEM: the host has reserved too few huge pages (/proc/sys/vm/nr_hugepages).");

            // A core dump of the VMM is not a dump of its guests; a refusal changes nothing else, so it is no error.
            _ = LibC.Advise(address, length, LibC.MADV_DONTDUMP);
            return new MappedRegion(range, address, file, 0) { IsOwned = true };
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Frees the memory but keeps its addresses: a window on it reads zeroes and writes nowhere. Changes
    /// nothing if the kernel refuses; <see cref="Errno.Last"/> tells why.</summary>
    internal static bool TryReplaceByNothing(MappedRegion region)
    {
        const int Flags = LibC.MAP_PRIVATE | LibC.MAP_ANONYMOUS | LibC.MAP_NORESERVE | LibC.MAP_FIXED;
        const int Protection = LibC.PROT_READ | LibC.PROT_WRITE;
        if (LibC.Map(region.Address, (nuint)region.Range.Length, Protection, Flags, -1, 0) == LibC.MapFailed)
        {
            return false;
        }

        region.File!.Dispose();
        return true;
    }

    internal static void Unmap(MappedRegion region)
    {
        _ = LibC.Unmap(region.Address, (nuint)region.Range.Length);
        region.File!.Dispose();
    }

    private static void Check(int answer, string operation, GuestRange range, string advice)
    {
        if (answer < 0)
        {
            throw new SystemCallException(
                $"{operation} for guest RAM {range} ({range.Length} bytes)", Errno.Last, advice);
        }
    }
}
