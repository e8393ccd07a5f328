using System.Runtime.InteropServices;

namespace OpTeeMediator.Linux.Kvm;

/// <summary><c>struct kvm_userspace_memory_region</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmUserspaceMemoryRegion
{
    /// <summary>KVM_MEM_READONLY.</summary>
    internal const uint ReadOnly = 1 << 1;

    internal uint Slot;
    internal uint Flags;
    internal ulong GuestPhysicalAddress;
    internal ulong MemorySize;
    internal ulong UserspaceAddress;
}
