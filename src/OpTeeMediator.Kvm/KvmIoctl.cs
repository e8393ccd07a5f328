namespace OpTeeMediator.Kvm;

/// <summary>The ioctl numbers of KVM that are the same on all architectures (linux/kvm.h).</summary>
internal static class KvmIoctl
{
    /// <summary>_IOW: user space writes the argument.</summary>
    internal const uint Write = 1u << 30;

    /// <summary>_IOR: user space reads the argument.</summary>
    internal const uint Read = 2u << 30;

    /// <summary>KVMIO.</summary>
    internal const uint Type = 0xAE00;

    /// <summary>The bit where the size of the argument begins.</summary>
    internal const int SizeShift = 16;

    internal const uint KVM_GET_API_VERSION = Type | 0x00;
    internal const uint KVM_CREATE_VM = Type | 0x01;
    internal const uint KVM_CHECK_EXTENSION = Type | 0x03;
    internal const uint KVM_GET_VCPU_MMAP_SIZE = Type | 0x04;
    internal const uint KVM_CREATE_VCPU = Type | 0x41;
    internal const uint KVM_GET_DIRTY_LOG = Write | 16u << SizeShift | Type | 0x42;
    internal const uint KVM_SET_USER_MEMORY_REGION = Write | 32u << SizeShift | Type | 0x46;
    internal const uint KVM_IRQ_LINE = Write | 8u << SizeShift | Type | 0x61;
    internal const uint KVM_IRQFD = Write | 32u << SizeShift | Type | 0x76;
    internal const uint KVM_IOEVENTFD = Write | 64u << SizeShift | Type | 0x79;
    internal const uint KVM_RUN = Type | 0x80;
    internal const uint KVM_GET_MP_STATE = Read | 4u << SizeShift | Type | 0x98;
    internal const uint KVM_SET_MP_STATE = Write | 4u << SizeShift | Type | 0x99;
    internal const uint KVM_ENABLE_CAP = Write | 104u << SizeShift | Type | 0xa3;
    internal const uint KVM_GET_ONE_REG = Write | 16u << SizeShift | Type | 0xab;
    internal const uint KVM_SET_ONE_REG = Write | 16u << SizeShift | Type | 0xac;
    internal const uint KVM_GET_REG_LIST = Read | Write | 8u << SizeShift | Type | 0xb0;
    internal const uint KVM_CLEAR_DIRTY_LOG = Read | Write | 24u << SizeShift | Type | 0xc0;
    internal const uint KVM_CREATE_DEVICE = Read | Write | 12u << SizeShift | Type | 0xe0;
    internal const uint KVM_SET_DEVICE_ATTR = Write | 24u << SizeShift | Type | 0xe1;
    internal const uint KVM_GET_DEVICE_ATTR = Write | 24u << SizeShift | Type | 0xe2;
    internal const uint KVM_HAS_DEVICE_ATTR = Write | 24u << SizeShift | Type | 0xe3;

    /// <summary>KVM_API_VERSION.</summary>
    internal const int ApiVersion = 12;
}
