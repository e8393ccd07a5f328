using System.Diagnostics.CodeAnalysis;

namespace OpTeeMediator.Kvm.Arm64;

/// <summary>How an arm64 vCPU is made (KVM_ARM_VCPU_*, the feature bits of KVM_ARM_VCPU_INIT).</summary>
[Experimental("OPTEE001")]
[Flags]
public enum Arm64VcpuFeatures : uint
{
    /// <summary>A 64-bit vCPU that runs at once, without PSCI of version 0.2 or later.</summary>
    None = 0,

    /// <summary>KVM_ARM_VCPU_POWER_OFF: the vCPU waits for another one's PSCI CPU_ON.</summary>
    PowerOff = 1 << 0,

    /// <summary>KVM_ARM_VCPU_EL1_32BIT: EL1 is 32-bit.</summary>
    El1Is32Bit = 1 << 1,

    /// <summary>KVM_ARM_VCPU_PSCI_0_2: KVM answers PSCI 0.2 and later.</summary>
    Psci = 1 << 2,

    /// <summary>KVM_ARM_VCPU_PMU_V3: a performance monitor.</summary>
    PerformanceMonitor = 1 << 3,

    /// <summary>KVM_ARM_VCPU_SVE: the scalable vector extension.</summary>
    Sve = 1 << 4,

    /// <summary>KVM_ARM_VCPU_PTRAUTH_ADDRESS: address authentication; with <see cref="GenericPointers"/>.</summary>
    AddressPointers = 1 << 5,

    /// <summary>KVM_ARM_VCPU_PTRAUTH_GENERIC: generic authentication; with <see cref="AddressPointers"/>.</summary>
    GenericPointers = 1 << 6,
}
