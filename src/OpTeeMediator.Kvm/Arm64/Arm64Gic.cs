using System.Collections.Immutable;
using System.Diagnostics.CodeAnalysis;
using OpTeeMediator.Kvm.SystemCalls;

namespace OpTeeMediator.Kvm.Arm64;

/// <summary>A GICv3 in the kernel: the interrupt controller of an arm64 VM.</summary>
/// <remarks>Made after the vCPUs: create, then run. Its registers answer EBUSY while a vCPU runs. Thread-safe. Source:
/// Documentation/virt/kvm/devices/arm-vgic-v3.rst.</remarks>
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
    internal const uint GroupLevelInfo = 7;

    // KVM_VGIC_V3_ADDR_TYPE_*, KVM_DEV_ARM_VGIC_CTRL_INIT, KVM_DEV_ARM_VGIC_V3_MPIDR_SHIFT.
    internal const ulong AddressDistributor = 2;
    internal const ulong AddressRedistributor = 3;
    internal const ulong ControlInitialize = 0;
    internal const int AffinityShift = 32;

    private readonly int _interruptCount;

    private Arm64Gic(KvmDevice device, int interruptCount)
    {
        Device = device;
        _interruptCount = interruptCount;
    }

    /// <summary>The device itself, for attributes that this class does not know.</summary>
    public KvmDevice Device { get; }

    /// <summary>Creates and initialises the GIC of a VM whose vCPUs exist.</summary>
    /// <param name="vm">The VM.</param>
    /// <param name="distributor">Where the distributor lies, 64 KiB; a multiple of 64 KiB.</param>
    /// <param name="redistributors">Where the redistributors lie, 128 KiB for each vCPU; a multiple of 64 KiB.</param>
    /// <param name="interruptCount">How many, 64 to 1024 in steps of 32, 32 of them private.</param>
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
            return new Arm64Gic(device, interruptCount);
        }
        catch
        {
            device.Dispose();
            throw;
        }
    }

    /// <summary>Reads a register of the distributor (GICD_*).</summary>
    /// <param name="offset">Its offset in bytes.</param>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public uint GetDistributorRegister(int offset) => Device.GetAttribute<uint>(GroupDistributor, (uint)offset);

    /// <inheritdoc cref="GetDistributorRegister" path="/*[not(self::summary)]"/>
    /// <summary>Writes a register of the distributor (GICD_*).</summary>
    public void SetDistributorRegister(int offset, uint value) =>
        Device.SetAttribute(GroupDistributor, (uint)offset, in value);

    /// <summary>Reads a register of a vCPU's redistributor (GICR_*).</summary>
    /// <param name="affinity">The vCPU's affinity, Aff3.Aff2.Aff1.Aff0; for less than 16 vCPUs its number.</param>
    /// <param name="offset">The register's offset in bytes.</param>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public uint GetRedistributorRegister(uint affinity, int offset) =>
        Device.GetAttribute<uint>(GroupRedistributor, (ulong)affinity << AffinityShift | (uint)offset);

    /// <inheritdoc cref="GetRedistributorRegister" path="/*[not(self::summary)]"/>
    /// <summary>Writes a 32-bit register of a vCPU's redistributor (GICR_*).</summary>
    public void SetRedistributorRegister(uint affinity, int offset, uint value) =>
        Device.SetAttribute(GroupRedistributor, (ulong)affinity << AffinityShift | (uint)offset, in value);

    /// <summary>Reads a register of a vCPU's interface (ICC_*_EL1).</summary>
    /// <param name="affinity">The vCPU's affinity, Aff3.Aff2.Aff1.Aff0; for less than 16 vCPUs its number.</param>
    /// <param name="register">The register: <see cref="Arm64Register.OfSystem"/>.</param>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public ulong GetCpuRegister(uint affinity, Arm64Register register) =>
        Device.GetAttribute<ulong>(GroupCpuRegisters, (ulong)affinity << AffinityShift | (ushort)register.Id);

    /// <inheritdoc cref="GetCpuRegister" path="/*[not(self::summary)]"/>
    /// <summary>Writes a register of a vCPU's interface (ICC_*_EL1).</summary>
    public void SetCpuRegister(uint affinity, Arm64Register register, ulong value) =>
        Device.SetAttribute(GroupCpuRegisters, (ulong)affinity << AffinityShift | (ushort)register.Id, in value);

    /// <summary>Reads the levels of 32 interrupt lines (KVM_DEV_ARM_VGIC_GRP_LEVEL_INFO).</summary>
    /// <param name="affinity">The vCPU's affinity, for the private interrupts; any one for others.</param>
    /// <param name="first">The first interrupt, a multiple of 32.</param>
    /// <returns>Bit n for interrupt <paramref name="first"/> + n: set if the line is high.</returns>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    public uint GetLineLevels(uint affinity, int first) =>
        Device.GetAttribute<uint>(GroupLevelInfo, (ulong)affinity << AffinityShift | (uint)first);

    /// <summary>Reads all that makes up the GIC's state, but for ITS and LPIs.</summary>
    /// <param name="vcpus">All vCPUs of the VM; none runs.</param>
    /// <returns>The state: attributes and their values, in the order in which they are restored.</returns>
    /// <exception cref="ArgumentNullException">A vCPU is <see langword="null"/>.</exception>
    /// <exception cref="SystemCallException">KVM refuses: a vCPU runs.</exception>
    /// <remarks>LPIs have their state in the guest's memory: KVM_DEV_ARM_VGIC_SAVE_PENDING_TABLES.</remarks>
    public ImmutableArray<Arm64GicEntry> SaveState(params ReadOnlySpan<KvmVcpu> vcpus)
    {
        uint[] affinities = new uint[vcpus.Length];
        for (int index = 0; index < vcpus.Length; index++)
        {
            ArgumentNullException.ThrowIfNull(vcpus[index]);
            ulong affinity = vcpus[index].GetRegister(Arm64Register.Affinity);
            affinities[index] = (uint)(affinity >> 32 & 0xff) << 24 | (uint)(affinity & 0xff_ffff);
        }

        return Arm64GicState.Save(Device, _interruptCount, affinities);
    }

    /// <summary>Gives the GIC another one's state. Before the first vCPU runs.</summary>
    /// <param name="state">What <see cref="SaveState"/> of a GIC with as many interrupts and vCPUs has read.</param>
    /// <exception cref="SystemCallException">KVM refuses: a vCPU runs, or the GICs differ.</exception>
    public void RestoreState(ImmutableArray<Arm64GicEntry> state) => Arm64GicState.Restore(Device, state);

    /// <inheritdoc/>
    public void Dispose() => Device.Dispose();

    /// <summary>Whether the attributes of a group are state, and do nothing else.</summary>
    internal static bool IsState(uint group) =>
        group is GroupDistributor or GroupRedistributor or GroupCpuRegisters or GroupLevelInfo;
}
