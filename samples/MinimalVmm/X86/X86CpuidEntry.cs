using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace MinimalVmm.X86;

/// <summary>One leaf of CPUID (<c>struct kvm_cpuid_entry2</c>).</summary>
/// <remarks>Plain data, laid out as the kernel has it.</remarks>
[StructLayout(LayoutKind.Sequential)]
internal struct X86CpuidEntry
{
    /// <summary>EAX at the instruction: the leaf.</summary>
    public uint Function;

    /// <summary>ECX at the instruction: the subleaf, if <see cref="Flags"/> bit 0 says that it matters.</summary>
    public uint Index;

    /// <summary>KVM_CPUID_FLAG_*: bit 0 set if <see cref="Index"/> matters.</summary>
    public uint Flags;

    /// <summary>EAX of the answer.</summary>
    public uint Eax;

    /// <summary>EBX of the answer.</summary>
    public uint Ebx;

    /// <summary>ECX of the answer.</summary>
    public uint Ecx;

    /// <summary>EDX of the answer.</summary>
    public uint Edx;

    private Padding _padding;

    [InlineArray(3)]
    private struct Padding
    {
        private uint _element0;
    }
}
