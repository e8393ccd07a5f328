using System.Runtime.InteropServices;

namespace OpTeeMediator.Kvm;

/// <summary><c>struct kvm_device_attr</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmDeviceAttribute
{
    internal uint Flags;
    internal uint Group;
    internal ulong Attribute;
    internal void* Address;
}
