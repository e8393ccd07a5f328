using System.Runtime.InteropServices;

namespace OpTeeMediator.Kvm.SystemCalls;

/// <summary><c>struct statx</c>, of which size and the number of a device file are used.</summary>
[StructLayout(LayoutKind.Explicit, Size = 256)]
internal struct FileStatus
{
    /// <summary>STATX_SIZE; the block size comes always.</summary>
    internal const uint SizeMask = 0x200;

    /// <summary>stx_blksize: of files of huge pages, their size.</summary>
    [FieldOffset(4)]
    internal uint BlockSize;

    /// <summary>stx_size.</summary>
    [FieldOffset(40)]
    internal ulong Size;

    /// <summary>stx_rdev_major.</summary>
    [FieldOffset(128)]
    internal uint DeviceMajor;

    /// <summary>stx_rdev_minor.</summary>
    [FieldOffset(132)]
    internal uint DeviceMinor;
}
