namespace OpTeeMediator.Linux.Kvm.X86;

/// <summary>The ioctl numbers of KVM on x86 (linux/kvm.h).</summary>
internal static class X86Ioctl
{
    internal const uint KVM_GET_SUPPORTED_CPUID = KvmIoctl.Read | KvmIoctl.Write | 8u << KvmIoctl.SizeShift | KvmIoctl.Type | 0x05;
    internal const uint KVM_SET_TSS_ADDR = KvmIoctl.Type | 0x47;
    internal const uint KVM_CREATE_IRQCHIP = KvmIoctl.Type | 0x60;
    internal const uint KVM_GET_REGS = KvmIoctl.Read | 144u << KvmIoctl.SizeShift | KvmIoctl.Type | 0x81;
    internal const uint KVM_SET_REGS = KvmIoctl.Write | 144u << KvmIoctl.SizeShift | KvmIoctl.Type | 0x82;
    internal const uint KVM_GET_SREGS = KvmIoctl.Read | 312u << KvmIoctl.SizeShift | KvmIoctl.Type | 0x83;
    internal const uint KVM_SET_SREGS = KvmIoctl.Write | 312u << KvmIoctl.SizeShift | KvmIoctl.Type | 0x84;
    internal const uint KVM_SET_CPUID2 = KvmIoctl.Write | 8u << KvmIoctl.SizeShift | KvmIoctl.Type | 0x90;
}
