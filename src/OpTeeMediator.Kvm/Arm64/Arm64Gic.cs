using System.Diagnostics.CodeAnalysis;
using OpTeeMediator.Kvm.SystemCalls;

namespace OpTeeMediator.Kvm.Arm64;

/// <summary>A GICv3 in the kernel: the interrupt controller of an arm64 VM.</summary>
/// <remarks>
/// Made after the vCPUs: create, then run. Its registers answer EBUSY while a vCPU runs. Thread-safe.
/// Source: Documentation/virt/kvm/devices/arm-vgic-v3.rst.
/// </remarks>
[Experimental("OPTEE001")]
public sealed class Arm64Gic : IDisposable
{
    // KVM_DEV_ARM_VGIC_GRP_*.
    internal const uint GroupAddress = 0;
    internal const uint GroupDistributor = 1;
    internal const uint GroupInterruptCount = 3;
    internal const uint GroupControl = 4;
    internal const uint GroupRedistributor = 5;
    internal const uint GroupCpuRegisters = 6;

    // KVM_VGIC_V3_ADDR_TYPE_*, KVM_DEV_ARM_VGIC_CTRL_INIT, KVM_DEV_ARM_VGIC_V3_MPIDR_SHIFT.
    internal const ulong AddressDistributor = 2;
    internal const ulong AddressRedistributor = 3;
    internal const ulong ControlInitialize = 0;
    internal const int AffinityShift = 32;

    private Arm64Gic(KvmDevice device) => Device = device;

    /// <summary>The device itself, for attributes that this class does not know.</summary>
    public KvmDevice Device { get; }

    /// <summary>Creates and initialises the GIC of a VM whose vCPUs exist.</summary>
    /// <param name="vm">The VM.</param>
    /// <param name="distributor">Where the distributor lies, 64 KiB; a multiple of 64 KiB.</param>
    /// <param name="redistributors">Where the redistributors lie, 128 KiB for each vCPU; a multiple of 64 KiB.</param>
    /// <param name="interruptCount">
    /// The number of interrupts, 64 to 1024 in steps of 32; the 32 private ones count.
    /// </param>
    /// <returns>The GIC.</returns>
    /// <exception cref="ArgumentNullException"><paramref name="vm"/> is <see langword="null"/>.</exception>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public static Arm64Gic Create(KvmVm vm, ulong distributor, ulong redistributors, int interruptCount)
    {
        ArgumentNullException.ThrowIfNull(vm);
        KvmDevice device = vm.CreateDevice(KvmDeviceType.ArmGicV3);
        try
        {
            device.SetAttribute(GroupAddress, AddressDistributor, distributor);
            device.SetAttribute(GroupAddress, AddressRedistributor, redistributors);
            device.SetAttribute(GroupInterruptCount, 0, (uint)interruptCount);
            device.SetAttribute(GroupControl, ControlInitialize);
            return new Arm64Gic(device);
        }
        catch
        {
            device.Dispose();
            throw;
        }
    }

    /// <summary>Reads a register of the distributor (GICD_*).</summary>
    /// <param name="offset">Its offset in bytes.</param>
    /// <returns>Its value.</returns>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public uint GetDistributorRegister(int offset) => Device.GetAttribute<uint>(GroupDistributor, (uint)offset);

    /// <summary>Writes a register of the distributor (GICD_*).</summary>
    /// <param name="offset">Its offset in bytes.</param>
    /// <param name="value">Its value.</param>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public void SetDistributorRegister(int offset, uint value) =>
        Device.SetAttribute(GroupDistributor, (uint)offset, in value);

    /// <summary>Reads a register of a vCPU's redistributor (GICR_*).</summary>
    /// <param name="affinity">The vCPU's affinity, Aff3.Aff2.Aff1.Aff0; for less than 16 vCPUs its number.</param>
    /// <param name="offset">The register's offset in bytes.</param>
    /// <returns>Its value.</returns>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public uint GetRedistributorRegister(uint affinity, int offset) =>
        Device.GetAttribute<uint>(GroupRedistributor, (ulong)affinity << AffinityShift | (uint)offset);

    /// <summary>Writes a register of a vCPU's redistributor (GICR_*).</summary>
    /// <param name="affinity">The vCPU's affinity, Aff3.Aff2.Aff1.Aff0; for less than 16 vCPUs its number.</param>
    /// <param name="offset">The register's offset in bytes.</param>
    /// <param name="value">Its value.</param>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public void SetRedistributorRegister(uint affinity, int offset, uint value) =>
        Device.SetAttribute(GroupRedistributor, (ulong)affinity << AffinityShift | (uint)offset, in value);

    /// <summary>Reads a register of a vCPU's interface (ICC_*_EL1).</summary>
    /// <param name="affinity">The vCPU's affinity, Aff3.Aff2.Aff1.Aff0; for less than 16 vCPUs its number.</param>
    /// <param name="register">The register: <see cref="Arm64Register.OfSystem"/>.</param>
    /// <returns>Its value.</returns>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public ulong GetCpuRegister(uint affinity, Arm64Register register) =>
        Device.GetAttribute<ulong>(GroupCpuRegisters, (ulong)affinity << AffinityShift | (ushort)register.Id);

    /// <summary>Writes a register of a vCPU's interface (ICC_*_EL1).</summary>
    /// <param name="affinity">The vCPU's affinity, Aff3.Aff2.Aff1.Aff0; for less than 16 vCPUs its number.</param>
    /// <param name="register">The register: <see cref="Arm64Register.OfSystem"/>.</param>
    /// <param name="value">Its value.</param>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public void SetCpuRegister(uint affinity, Arm64Register register, ulong value) =>
        Device.SetAttribute(GroupCpuRegisters, (ulong)affinity << AffinityShift | (ushort)register.Id, in value);

    /// <inheritdoc/>
    public void Dispose() => Device.Dispose();
}
