using System.Runtime.InteropServices;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Linux.Memory;

/// <summary>A region of guest RAM and where it lies in this process, as KVM_SET_USER_MEMORY_REGION takes it.</summary>
/// <remarks>Immutable, hence thread-safe.</remarks>
/// <param name="Range">The guest addresses.</param>
/// <param name="HostAddress">The host virtual address of the first byte, mapped for reading and writing.</param>
/// <param name="File">The file that is mapped there, shared; <see langword="null"/> if there is none. For a bare
/// descriptor, a <see cref="Microsoft.Win32.SafeHandles.SafeFileHandle"/> that does not own it. It stays open as long
/// as the region is guest RAM or pinned.</param>
/// <param name="FileOffset">Where the region begins in the file, in bytes; 0 without a file.</param>
public readonly record struct MappedMemoryRegion(GuestRange Range, nint HostAddress, SafeHandle? File, long FileOffset)
{
    /// <summary>Describes a region without a file that can be mapped again.</summary>
    /// <param name="range">The guest addresses.</param>
    /// <param name="hostAddress">The host virtual address of the first byte, mapped for reading and writing.</param>
    public MappedMemoryRegion(GuestRange range, nint hostAddress) : this(range, hostAddress, null, 0)
    {
    }
}
