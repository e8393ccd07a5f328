using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace OpTeeMediator.Kvm.Arm64;

/// <summary><c>struct kvm_vcpu_init</c> (asm/kvm.h of arm64).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct Arm64VcpuInit
{
    internal uint Target;
    internal FeatureWords Features;

    [InlineArray(7)]
    internal struct FeatureWords
    {
        private uint _element0;
    }
}
