using System.Runtime.InteropServices;

namespace OpTeeMediator.Kvm.SystemCalls;

/// <summary><c>struct rlimit</c> on 64-bit machines.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ResourceLimit
{
    internal nuint Soft;
    internal nuint Hard;
}
