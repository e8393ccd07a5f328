using System.Runtime.InteropServices;

namespace OpTeeMediator.Kvm;

/// <summary><c>struct kvm_irqfd</c>.</summary>
[StructLayout(LayoutKind.Sequential, Size = 32)]
internal struct KvmIrqFile
{
    /// <summary>KVM_IRQFD_FLAG_DEASSIGN.</summary>
    internal const uint Deassign = 1 << 0;

    /// <summary>KVM_IRQFD_FLAG_RESAMPLE.</summary>
    internal const uint Resample = 1 << 1;

    internal int FileDescriptor;
    internal uint Interrupt;
    internal uint Flags;
    internal int ResampleFileDescriptor;
}
