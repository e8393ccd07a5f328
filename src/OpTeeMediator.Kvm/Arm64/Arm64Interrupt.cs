using System.Diagnostics.CodeAnalysis;

namespace OpTeeMediator.Kvm.Arm64;

/// <summary>Names an input of KVM's GIC, for <see cref="KvmVm.SetInterruptLine(uint, bool)"/> (KVM_IRQ_LINE).</summary>
/// <remarks>
/// <code>
/// bits 31:28 vCPU number, bits 11:8      bits 27:24 type: 0 CPU input, 1 SPI, 2 PPI
/// bits 23:16 vCPU number, bits 7:0       bits 15:0  GIC interrupt number
/// </code>
/// Thread-safe.
/// </remarks>
[Experimental("OPTEE001")]
public static class Arm64Interrupt
{
    // KVM_ARM_IRQ_TYPE_SPI and _PPI, KVM_ARM_IRQ_TYPE_SHIFT, KVM_ARM_IRQ_VCPU_SHIFT, KVM_ARM_IRQ_VCPU2_SHIFT.
    private const uint TypeSpi = 1u << 24;
    private const uint TypePpi = 2u << 24;
    private const int VcpuShift = 16;
    private const int VcpuHighShift = 28;

    /// <summary>A shared peripheral interrupt.</summary>
    /// <param name="interrupt">Its GIC number, 32–1019: 32 more than the number in a device tree.</param>
    /// <exception cref="ArgumentOutOfRangeException">The number is no SPI's.</exception>
    public static uint Spi(int interrupt)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(interrupt, 32);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(interrupt, 1019);
        return TypeSpi | (uint)interrupt;
    }

    /// <summary>A private peripheral interrupt of a vCPU.</summary>
    /// <param name="vcpu">The vCPU's number, 0–4095.</param>
    /// <param name="interrupt">The GIC number, 16–31: 16 more than the number in a device tree.</param>
    /// <exception cref="ArgumentOutOfRangeException">A number is out of its range.</exception>
    public static uint Ppi(int vcpu, int interrupt)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(vcpu);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(vcpu, 0xfff);
        ArgumentOutOfRangeException.ThrowIfLessThan(interrupt, 16);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(interrupt, 31);
        return TypePpi | ((uint)vcpu >> 8 << VcpuHighShift) | (((uint)vcpu & 0xff) << VcpuShift) | (uint)interrupt;
    }
}
