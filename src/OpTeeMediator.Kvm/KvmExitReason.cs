using System.Diagnostics.CodeAnalysis;

namespace OpTeeMediator.Kvm;

/// <summary>Why a vCPU came back from the guest (KVM_EXIT_*); a reason without a name carries KVM's number.</summary>
[Experimental("OPTEE001")]
public enum KvmExitReason
{
    /// <summary>KVM_EXIT_UNKNOWN: the hardware's reason is in <see cref="KvmVcpu.UnknownHardwareReason"/>.</summary>
    Unknown = 0,

    /// <summary>KVM_EXIT_EXCEPTION.</summary>
    Exception = 1,

    /// <summary>KVM_EXIT_IO (x86): see <see cref="KvmVcpu.Io"/>.</summary>
    Io = 2,

    /// <summary>KVM_EXIT_HYPERCALL: on arm64 a forwarded call; see <see cref="KvmVcpu.Hypercall"/>.</summary>
    Hypercall = 3,

    /// <summary>KVM_EXIT_DEBUG.</summary>
    Debug = 4,

    /// <summary>KVM_EXIT_HLT (x86, without an interrupt controller in the kernel).</summary>
    Halt = 5,

    /// <summary>KVM_EXIT_MMIO: see <see cref="KvmVcpu.Mmio"/>.</summary>
    Mmio = 6,

    /// <summary>KVM_EXIT_IRQ_WINDOW_OPEN (x86).</summary>
    InterruptWindowOpen = 7,

    /// <summary>KVM_EXIT_SHUTDOWN (x86: triple fault).</summary>
    Shutdown = 8,

    /// <summary>KVM_EXIT_FAIL_ENTRY: see <see cref="KvmVcpu.FailEntry"/>.</summary>
    FailEntry = 9,

    /// <summary>KVM_EXIT_INTR: <see cref="KvmVcpu.Kick"/> or a signal; nothing is to be done but run again.</summary>
    Interrupted = 10,

    /// <summary>KVM_EXIT_INTERNAL_ERROR: see <see cref="KvmVcpu.InternalError"/>.</summary>
    InternalError = 17,

    /// <summary>KVM_EXIT_SYSTEM_EVENT (arm64: PSCI SYSTEM_OFF, say): see <see cref="KvmVcpu.SystemEvent"/>.</summary>
    SystemEvent = 24,

    /// <summary>KVM_EXIT_ARM_NISV: an access without description; see <see cref="KvmVcpu.NoSyndrome"/>.</summary>
    ArmNoSyndrome = 28,

    /// <summary>KVM_EXIT_MEMORY_FAULT.</summary>
    MemoryFault = 39,
}
