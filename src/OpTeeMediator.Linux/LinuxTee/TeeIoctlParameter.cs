using System.Runtime.InteropServices;

namespace OpTeeMediator.Linux.LinuxTee;

/// <summary><c>struct tee_ioctl_param</c>; kinds as in <see cref="Backends.TeeParameterKind"/>.</summary>
/// <remarks>
/// <code>
///          value     memory reference
/// A        a         offset in the memory
/// B        b         size
/// C        c         identifier of the memory, all ones for NULL
/// </code>
/// </remarks>
[StructLayout(LayoutKind.Sequential)]
internal struct TeeIoctlParameter
{
    internal ulong Attributes;
    internal ulong A;
    internal ulong B;
    internal ulong C;
}
