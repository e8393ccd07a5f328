using System.Runtime.InteropServices;

namespace OpTeeMediator.Kvm.SystemCalls;

/// <summary><c>struct statx</c>, of which the number of a device file is used.</summary>
[StructLayout(LayoutKind.Explicit, Size = 256)]
internal struct FileStatus
{
    /// <summary>stx_rdev_major.</summary>
    [FieldOffset(128)]
    internal uint DeviceMajor;

    /// <summary>stx_rdev_minor.</summary>
    [FieldOffset(132)]
    internal uint DeviceMinor;
}
