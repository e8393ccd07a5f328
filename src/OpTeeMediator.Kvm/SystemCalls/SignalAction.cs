using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace OpTeeMediator.Kvm.SystemCalls;

/// <summary>The C library's <c>struct sigaction</c> (glibc and musl, x86-64 and arm64).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct SignalAction
{
    internal nint Handler;
    internal SignalSet Mask;
    internal int Flags;
    internal nint Restorer;

    /// <summary>The C library's <c>sigset_t</c>: 1024 bits.</summary>
    [InlineArray(16)]
    internal struct SignalSet
    {
        private ulong _element0;
    }
}
