using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;

namespace OpTeeMediator.Kvm;

/// <summary>A capability of KVM (KVM_CAP_*); a number that is not named here may be cast.</summary>
[Experimental("OPTEE001")]
public enum KvmCapability
{
    /// <summary>KVM_CAP_IRQCHIP: an interrupt controller in the kernel.</summary>
    InKernelInterruptController = 0,

    /// <summary>KVM_CAP_USER_MEMORY.</summary>
    UserMemory = 3,

    /// <summary>KVM_CAP_NR_VCPUS: the recommended number of vCPUs of a VM.</summary>
    RecommendedVcpus = 9,

    /// <summary>KVM_CAP_NR_MEMSLOTS: the number of memory slots of a VM.</summary>
    MemorySlots = 10,

    /// <summary>KVM_CAP_MAX_VCPUS: the highest number of vCPUs of a VM.</summary>
    MaximumVcpus = 66,

    /// <summary>KVM_CAP_MP_STATE: <see cref="KvmVcpu.MpState"/>.</summary>
    MpState = 14,

    /// <summary>KVM_CAP_IRQFD: <see cref="KvmVm.AddInterruptFile(SafeHandle, uint)"/>.</summary>
    InterruptFile = 32,

    /// <summary>KVM_CAP_IOEVENTFD: <see cref="KvmVm.AddIoEventFile(SafeHandle, ulong, int)"/>.</summary>
    IoEventFile = 36,

    /// <summary>KVM_CAP_ENABLE_CAP: <see cref="KvmVcpu.EnableCapability"/>.</summary>
    EnableCapability = 54,

    /// <summary>KVM_CAP_ONE_REG: KVM_GET_ONE_REG and KVM_SET_ONE_REG.</summary>
    OneRegister = 70,

    /// <summary>KVM_CAP_SYNC_REGS: registers in the shared kvm_run page; the value is the set of classes.</summary>
    SharedRegisters = 74,

    /// <summary>KVM_CAP_READONLY_MEM.</summary>
    ReadOnlyMemory = 81,

    /// <summary>KVM_CAP_DEVICE_CTRL: KVM_CREATE_DEVICE and device attributes.</summary>
    DeviceControl = 89,

    /// <summary>KVM_CAP_ENABLE_CAP_VM: <see cref="KvmVm.EnableCapability"/>.</summary>
    EnableVmCapability = 98,

    /// <summary>KVM_CAP_ARM_PSCI_0_2.</summary>
    ArmPsci = 102,

    /// <summary>KVM_CAP_IMMEDIATE_EXIT: what <see cref="KvmVcpu.Kick"/> needs.</summary>
    ImmediateExit = 136,

    /// <summary>KVM_CAP_ARM_VM_IPA_SIZE: the largest guest address size in bits; 0 means 40.</summary>
    ArmGuestAddressBits = 165,

    /// <summary>KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: for <see cref="KvmVm.ClearDirtyLog"/>; argument 1.</summary>
    ManualDirtyLog = 168,

    /// <summary>KVM_CAP_ARM_SVE.</summary>
    ArmSve = 170,

    /// <summary>KVM_CAP_ARM_NISV_TO_USER: once enabled, an access that the hardware does not describe is an exit of the
    /// kind <see cref="KvmExitReason.ArmNoSyndrome"/>.</summary>
    ArmNoSyndromeToUser = 177,

    /// <summary>KVM_CAP_ARM_SYSTEM_SUSPEND: SYSTEM_SUSPEND becomes a <see cref="KvmExitReason.SystemEvent"/>.</summary>
    ArmSystemSuspend = 216,
}
