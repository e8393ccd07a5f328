using System.Runtime.InteropServices;

namespace OpTeeMediator.Kvm.SystemCalls;

/// <summary><c>struct ucred</c>: who has connected a Unix socket.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct PeerCredentials
{
    internal int ProcessId;
    internal uint UserId;
    internal uint GroupId;
}
