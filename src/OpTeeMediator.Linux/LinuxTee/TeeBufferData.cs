using System.Runtime.InteropServices;

namespace OpTeeMediator.Linux.LinuxTee;

/// <summary><c>struct tee_ioctl_buf_data</c>: where an argument of variable length lies.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct TeeBufferData
{
    internal ulong Pointer;
    internal ulong Length;
}
