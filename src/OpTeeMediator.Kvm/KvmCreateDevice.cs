using System.Runtime.InteropServices;

namespace OpTeeMediator.Kvm;

/// <summary><c>struct kvm_create_device</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmCreateDevice
{
    internal uint Type;
    internal int FileDescriptor;
    internal uint Flags;
}
