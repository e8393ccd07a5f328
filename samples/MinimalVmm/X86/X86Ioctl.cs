namespace MinimalVmm.X86;

/// <summary>The ioctl numbers of KVM on x86 (linux/kvm.h).</summary>
internal static class X86Ioctl
{
    private const uint Write = 1u << 30;
    private const uint Read = 2u << 30;
    private const uint Type = 0xAE00;
    private const int SizeShift = 16;

    internal const uint KVM_GET_REGS = Read | 144u << SizeShift | Type | 0x81;
    internal const uint KVM_SET_REGS = Write | 144u << SizeShift | Type | 0x82;
    internal const uint KVM_GET_SREGS = Read | 312u << SizeShift | Type | 0x83;
    internal const uint KVM_SET_SREGS = Write | 312u << SizeShift | Type | 0x84;
}
