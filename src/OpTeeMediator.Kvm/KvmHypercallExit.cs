using System.Diagnostics.CodeAnalysis;

namespace OpTeeMediator.Kvm;

/// <summary>A call that KVM forwards to user space (KVM_EXIT_HYPERCALL).</summary>
/// <remarks>Immutable, hence thread-safe.</remarks>
/// <param name="Number">The function identifier: the low 32 bits of X0 on arm64.</param>
/// <param name="Flags">KVM_HYPERCALL_EXIT_*: bit 0 set for SMC, clear for HVC; bit 1 for a 16-bit instruction.</param>
[Experimental("OPTEE001")]
public readonly record struct KvmHypercallExit(ulong Number, ulong Flags)
{
    /// <summary>Whether the guest used the SMC instruction (KVM_HYPERCALL_EXIT_SMC); otherwise HVC.</summary>
    public bool IsSmc => (Flags & 1) != 0;

    /// <summary>The length of the instruction in bytes (KVM_HYPERCALL_EXIT_16BIT).</summary>
    internal int InstructionLength => (Flags & 2) != 0 ? 2 : 4;
}
