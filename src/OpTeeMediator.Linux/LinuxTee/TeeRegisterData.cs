using System.Runtime.InteropServices;

namespace OpTeeMediator.Linux.LinuxTee;

/// <summary><c>struct tee_ioctl_shm_register_data</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct TeeRegisterData
{
    internal ulong Address;
    internal ulong Length;
    internal uint Flags;
    internal int Id;
}
