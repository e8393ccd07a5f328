using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.Arm64;

namespace OpTeeMediator.Linux.Companion;

/// <summary>A vCPU of the companion VM. Tests put their own in KVM's place.</summary>
/// <remarks>One thread at a time uses it; only <see cref="Kick"/> may be called by others.</remarks>
internal interface ICompanionCpu
{
    /// <summary>The access of an MMIO exit.</summary>
    KvmMmioExit Mmio { get; }

    /// <summary>The call of a hypercall exit.</summary>
    KvmHypercallExit Hypercall { get; }

    /// <summary>Reads a register: a system call.</summary>
    ulong Get(Arm64Register register);

    /// <summary>Writes a register: a system call.</summary>
    void Set(Arm64Register register, ulong value);

    /// <summary>Runs until it needs its monitor.</summary>
    KvmExitReason Run();

    /// <summary>Makes <see cref="Run"/> return <see cref="KvmExitReason.Interrupted"/>.</summary>
    void Kick();
}
