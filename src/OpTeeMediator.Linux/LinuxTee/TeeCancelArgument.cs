using System.Runtime.InteropServices;

namespace OpTeeMediator.Linux.LinuxTee;

/// <summary><c>struct tee_ioctl_cancel_arg</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct TeeCancelArgument
{
    internal uint CancelId;
    internal uint Session;
}
