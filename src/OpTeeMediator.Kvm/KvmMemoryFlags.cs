using System.Diagnostics.CodeAnalysis;

namespace OpTeeMediator.Kvm;

/// <summary>How a VM may use a memory slot (KVM_MEM_*).</summary>
[Experimental("OPTEE001")]
[Flags]
public enum KvmMemoryFlags : uint
{
    /// <summary>The guest reads and writes it, and no writes are logged.</summary>
    None = 0,

    /// <summary>KVM_MEM_LOG_DIRTY_PAGES: KVM logs which pages are written.</summary>
    LogDirtyPages = 1 << 0,

    /// <summary>KVM_MEM_READONLY: the guest's writes are exits of the kind <see cref="KvmExitReason.Mmio"/>.</summary>
    ReadOnly = 1 << 1,
}
