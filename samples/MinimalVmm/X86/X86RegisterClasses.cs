namespace MinimalVmm.X86;

/// <summary>Classes of registers that KVM shares in the kvm_run page (KVM_SYNC_X86_*).</summary>
[Flags]
internal enum X86RegisterClasses : ulong
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>KVM_SYNC_X86_REGS: <see cref="X86Registers"/>.</summary>
    General = 1,

    /// <summary>KVM_SYNC_X86_SREGS: <see cref="X86SpecialRegisters"/>.</summary>
    Special = 2,
}
