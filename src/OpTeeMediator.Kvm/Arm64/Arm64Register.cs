using System.Diagnostics.CodeAnalysis;

namespace OpTeeMediator.Kvm.Arm64;

/// <summary>A register of an arm64 vCPU, by the number that KVM_GET_ONE_REG and KVM_SET_ONE_REG use.</summary>
/// <remarks>
/// <code>
/// bits 63:60 6 (KVM_REG_ARM64)          bits 59:52 2 for 32 bits, 3 for 64, 4 for 128 (KVM_REG_SIZE_*)
/// bits 27:16 0x10 core, 0x13 system, 0x14 firmware
/// bits 15:0  offset in struct kvm_regs / 4, or op0 op1 crn crm op2, or the firmware's number
/// </code>
/// Source: asm/kvm.h of arm64. Immutable, hence thread-safe.
/// </remarks>
/// <param name="Id">KVM's number.</param>
[Experimental("OPTEE001")]
public readonly record struct Arm64Register(ulong Id)
{
    // KVM_REG_ARM64, with KVM_REG_SIZE_U32 to _U128, and KVM_REG_ARM_CORE, KVM_REG_ARM64_SYSREG or KVM_REG_ARM_FW.
    private const ulong Size32 = 0x6020_0000_0000_0000;
    private const ulong Size64 = 0x6030_0000_0000_0000;
    private const ulong Size128 = 0x6040_0000_0000_0000;
    private const ulong Core = 0x10_0000;
    private const ulong SystemRegister = 0x13_0000;
    private const ulong Firmware = 0x14_0000;

    // Offsets in struct kvm_regs.
    private const int SpOffset = 31 * 8;
    private const int SpEl1Offset = 34 * 8;
    private const int VectorOffset = 336;
    private const int FpsrOffset = VectorOffset + (32 * 16);

    /// <summary>The size in bytes.</summary>
    public int Size => 1 << (int)(Id >> 52 & 0xf);

    /// <summary>The stack pointer SP_EL0.</summary>
    public static Arm64Register Sp => OfCore(Size64, SpOffset);

    /// <summary>The program counter.</summary>
    public static Arm64Register Pc => OfCore(Size64, SpOffset + 8);

    /// <summary>PSTATE. 0x3c5 is EL1h with all interrupts masked, the state in which kernels start.</summary>
    public static Arm64Register Pstate => OfCore(Size64, SpOffset + 16);

    /// <summary>SP_EL1.</summary>
    public static Arm64Register SpEl1 => OfCore(Size64, SpEl1Offset);

    /// <summary>ELR_EL1.</summary>
    public static Arm64Register ElrEl1 => OfCore(Size64, SpEl1Offset + 8);

    /// <summary>SPSR_EL1.</summary>
    public static Arm64Register SpsrEl1 => OfCore(Size64, SpEl1Offset + 16);

    /// <summary>FPSR, the status of floating point; 32 bits.</summary>
    public static Arm64Register Fpsr => OfCore(Size32, FpsrOffset);

    /// <summary>FPCR, the control of floating point; 32 bits.</summary>
    public static Arm64Register Fpcr => OfCore(Size32, FpsrOffset + 4);

    /// <summary>MPIDR_EL1, the vCPU's affinity.</summary>
    public static Arm64Register Affinity => OfSystem(3, 0, 0, 0, 5);

    /// <summary>The version of PSCI that KVM offers the guest (KVM_REG_ARM_PSCI_VERSION).</summary>
    public static Arm64Register PsciVersion => OfFirmware(0);

    /// <summary>CNTP_CTL_EL0, the control of the physical timer (KVM_REG_ARM_PTIMER_CTL).</summary>
    public static Arm64Register PhysicalTimerControl => OfSystem(3, 3, 14, 2, 1);

    /// <summary>CNTP_CVAL_EL0, when the physical timer fires (KVM_REG_ARM_PTIMER_CVAL).</summary>
    public static Arm64Register PhysicalTimerCompare => OfSystem(3, 3, 14, 2, 2);

    /// <summary>CNTPCT_EL0, the physical counter (KVM_REG_ARM_PTIMER_CNT).</summary>
    public static Arm64Register PhysicalCounter => OfSystem(3, 3, 14, 0, 1);

    /// <summary>CNTV_CTL_EL0, the control of the virtual timer (KVM_REG_ARM_TIMER_CTL).</summary>
    public static Arm64Register VirtualTimerControl => OfSystem(3, 3, 14, 3, 1);

    /// <summary>CNTV_CVAL_EL0, when the virtual timer fires (KVM_REG_ARM_TIMER_CVAL).</summary>
    /// <remarks>KVM has exchanged the numbers of this register and <see cref="VirtualCounter"/>.</remarks>
    public static Arm64Register VirtualTimerCompare => OfSystem(3, 3, 14, 0, 2);

    /// <summary>CNTVCT_EL0, the virtual counter (KVM_REG_ARM_TIMER_CNT).</summary>
    /// <remarks>Writing it moves the counter of the whole VM.</remarks>
    public static Arm64Register VirtualCounter => OfSystem(3, 3, 14, 3, 2);

    /// <summary>ICC_PMR_EL1, of <see cref="Arm64Gic"/>: interrupts of this priority and below are masked.</summary>
    public static Arm64Register InterruptPriorityMask => OfSystem(3, 0, 4, 6, 0);

    /// <summary>ICC_IGRPEN0_EL1, of <see cref="Arm64Gic"/>: bit 0 lets interrupts of group 0 through, as FIQ.</summary>
    public static Arm64Register InterruptGroup0Enable => OfSystem(3, 0, 12, 12, 6);

    /// <summary>ICC_IGRPEN1_EL1, of <see cref="Arm64Gic"/>: bit 0 lets interrupts of group 1 through, as IRQ.</summary>
    public static Arm64Register InterruptGroup1Enable => OfSystem(3, 0, 12, 12, 7);

    /// <summary>A general register.</summary>
    /// <param name="index">0–30.</param>
    /// <exception cref="ArgumentOutOfRangeException">There is no such register.</exception>
    public static Arm64Register X(int index)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)index, 30u, nameof(index));
        return new Arm64Register(IdOfX(index));
    }

    /// <summary>A register of SIMD and floating point; 128 bits.</summary>
    /// <param name="index">0–31.</param>
    /// <exception cref="ArgumentOutOfRangeException">There is no such register.</exception>
    /// <remarks>A vCPU with <see cref="Arm64VcpuFeatures.Sve"/> has larger ones in its place.</remarks>
    public static Arm64Register V(int index)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)index, 31u, nameof(index));
        return OfCore(Size128, VectorOffset + (index * 16));
    }

    /// <summary>A register of KVM's firmware interface (KVM_REG_ARM_FW_REG): PSCI's version, mitigations.</summary>
    /// <param name="index">Its number, 0–65535.</param>
    /// <returns>The register; 64 bits.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The number has more than 16 bits.</exception>
    public static Arm64Register OfFirmware(int index)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)index, 0xffffu, nameof(index));
        return new Arm64Register(Size64 | Firmware | (uint)index);
    }

    /// <summary>A system register by its encoding in MRS and MSR.</summary>
    /// <param name="op0">0–3.</param>
    /// <param name="op1">0–7.</param>
    /// <param name="crn">0–15.</param>
    /// <param name="crm">0–15.</param>
    /// <param name="op2">0–7.</param>
    /// <exception cref="ArgumentOutOfRangeException">A field is out of its range.</exception>
    public static Arm64Register OfSystem(int op0, int op1, int crn, int crm, int op2) =>
        new(Size64 | SystemRegister | EncodeSystem(op0, op1, crn, crm, op2));

    /// <summary>The number of Xn, unchecked.</summary>
    internal static ulong IdOfX(int index) => Size64 | Core | ((ulong)index * 8 / sizeof(uint));

    /// <summary>The 16 bits that name a system register (ARM64_SYS_REG), also used by the GIC's attributes.</summary>
    internal static ulong EncodeSystem(int op0, int op1, int crn, int crm, int op2)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)op0, 3u, nameof(op0));
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)op1, 7u, nameof(op1));
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)crn, 15u, nameof(crn));
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)crm, 15u, nameof(crm));
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)op2, 7u, nameof(op2));
        return (ulong)(op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2);
    }

    // A byte offset in struct kvm_regs; KVM counts words of 32 bits.
    private static Arm64Register OfCore(ulong size, int offset) => new(size | Core | ((ulong)offset / sizeof(uint)));
}
