using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace OpTeeMediator.Kvm;

/// <summary><c>struct kvm_ioeventfd</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
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
    internal Padding Reserved;

    [InlineArray(36)]
    internal struct Padding
    {
        private byte _element0;
    }
}
