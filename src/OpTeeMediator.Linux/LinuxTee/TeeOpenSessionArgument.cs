using System.Runtime.InteropServices;
using OpTeeMediator.Backends;

namespace OpTeeMediator.Linux.LinuxTee;

/// <summary><c>struct tee_ioctl_open_session_arg</c> with four parameters.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct TeeOpenSessionArgument
{
    internal TeeUuid Application;
    internal TeeUuid Client;
    internal TeeLogin ClientLogin;
    internal uint CancelId;
    internal uint Session;
    internal uint ReturnCode;
    internal uint ReturnOrigin;
    internal uint ParameterCount;
    internal TeeIoctlParameters Parameters;
}
