namespace OpTeeMediator.Kvm.Arm64;

/// <summary>The ioctl numbers of KVM on arm64 (linux/kvm.h).</summary>
internal static class Arm64Ioctl
{
    internal const uint KVM_GET_VCPU_EVENTS = KvmIoctl.Read | 64u << KvmIoctl.SizeShift | KvmIoctl.Type | 0x9f;
    internal const uint KVM_SET_VCPU_EVENTS = KvmIoctl.Write | 64u << KvmIoctl.SizeShift | KvmIoctl.Type | 0xa0;
    internal const uint KVM_ARM_VCPU_INIT = KvmIoctl.Write | 32u << KvmIoctl.SizeShift | KvmIoctl.Type | 0xae;
    internal const uint KVM_ARM_VCPU_FINALIZE = KvmIoctl.Write | 4u << KvmIoctl.SizeShift | KvmIoctl.Type | 0xc2;
    internal const uint KVM_ARM_PREFERRED_TARGET = KvmIoctl.Read | 32u << KvmIoctl.SizeShift | KvmIoctl.Type | 0xaf;
}
