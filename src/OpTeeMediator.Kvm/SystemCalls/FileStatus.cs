using System.Runtime.InteropServices;

namespace OpTeeMediator.Kvm.SystemCalls;

/// <summary><c>struct statx</c>, of which size and the number of a device file are used.</summary>
[StructLayout(LayoutKind.Explicit, Size = 256)]
internal struct FileStatus
{
    /// <summary>STATX_SIZE; the block size comes always.</summary>
    internal const uint SizeMask = 0x200;

    // stx_blksize (of files of huge pages, their size), stx_size, stx_rdev_major, stx_rdev_minor.
    [FieldOffset(4)]
    internal uint BlockSize;

    [FieldOffset(40)]
    internal ulong Size;

    [FieldOffset(128)]
    internal uint DeviceMajor;

    [FieldOffset(132)]
    internal uint DeviceMinor;
}
