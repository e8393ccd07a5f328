using System.Runtime.InteropServices;

namespace OpTeeMediator.Kvm.SystemCalls;

/// <summary><c>struct iovec</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct IoVector
{
    internal void* Base;
    internal nuint Length;
}
