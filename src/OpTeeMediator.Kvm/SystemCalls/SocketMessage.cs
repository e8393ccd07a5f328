using System.Runtime.InteropServices;

namespace OpTeeMediator.Kvm.SystemCalls;

/// <summary>The C library's <c>struct msghdr</c> on 64-bit machines.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct SocketMessage
{
    internal nint Name;
    internal uint NameLength;
    internal IoVector* Vectors;
    internal nuint VectorCount;
    internal void* Control;
    internal nuint ControlLength;
    internal int Flags;
}
