using System.Runtime.InteropServices;

namespace OpTeeMediator.Linux.LinuxTee;

/// <summary><c>struct tee_ioctl_invoke_arg</c> with four parameters.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct TeeInvokeArgument
{
    internal uint Function;
    internal uint Session;
    internal uint CancelId;
    internal uint ReturnCode;
    internal uint ReturnOrigin;
    internal uint ParameterCount;
    internal TeeIoctlParameters Parameters;
}
