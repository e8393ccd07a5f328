namespace OpTeeMediator.Kvm.Arm64;

/// <summary>The ioctl numbers of KVM on arm64 (linux/kvm.h).</summary>
internal static class Arm64Ioctl
{
    internal const uint KVM_ARM_VCPU_INIT = KvmIoctl.Write | 32u << KvmIoctl.SizeShift | KvmIoctl.Type | 0xae;
    internal const uint KVM_ARM_VCPU_FINALIZE = KvmIoctl.Write | 4u << KvmIoctl.SizeShift | KvmIoctl.Type | 0xc2;
    internal const uint KVM_ARM_PREFERRED_TARGET = KvmIoctl.Read | 32u << KvmIoctl.SizeShift | KvmIoctl.Type | 0xaf;
}
