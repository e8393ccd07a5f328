using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace OpTeeMediator.Kvm.Arm64;

/// <summary><c>struct kvm_vcpu_events</c> (asm/kvm.h of arm64): what a vCPU is to take, and has not taken.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct Arm64VcpuEvents
{
    internal byte SystemErrorPending;
    internal byte SystemErrorHasSyndrome;
    internal byte ExternalAbortPending;
    internal Padding Reserved;
    internal ulong SystemErrorSyndrome;
    internal FurtherWords Further;

    [InlineArray(5)]
    internal struct Padding
    {
        private byte _element0;
    }

    [InlineArray(12)]
    internal struct FurtherWords
    {
        private uint _element0;
    }
}
