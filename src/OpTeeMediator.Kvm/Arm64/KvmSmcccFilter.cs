using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace OpTeeMediator.Kvm.Arm64;

/// <summary><c>struct kvm_smccc_filter</c> (asm/kvm.h of arm64, Linux 6.4 and later).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmSmcccFilter
{
    internal uint Base;
    internal uint FunctionCount;
    internal byte Action;
    internal Padding Reserved;

    [InlineArray(15)]
    internal struct Padding
    {
        private byte _element0;
    }
}
