using System.Runtime.InteropServices;

namespace OpTeeMediator.Kvm;

/// <summary><c>struct kvm_ioeventfd</c>.</summary>
[StructLayout(LayoutKind.Sequential, Size = 64)]
internal struct KvmIoEventFile
{
    /// <summary>KVM_IOEVENTFD_FLAG_DATAMATCH.</summary>
    internal const uint DataMatch = 1 << 0;

    /// <summary>KVM_IOEVENTFD_FLAG_DEASSIGN.</summary>
    internal const uint Deassign = 1 << 2;

    internal ulong Data;
    internal ulong Address;
    internal uint Length;
    internal int FileDescriptor;
    internal uint Flags;
}
