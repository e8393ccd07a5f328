using System.Runtime.InteropServices;

namespace OpTeeMediator.Linux.LinuxTee;

/// <summary><c>struct tee_ioctl_version_data</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct TeeVersionData
{
    internal uint ImplementationId;
    internal uint ImplementationCapabilities;
    internal uint GeneralCapabilities;
}
