using System.Collections.Immutable;
using OpTeeMediator.Kvm.SystemCalls;

namespace OpTeeMediator.Kvm.Arm64;

/// <summary>Reads and writes the state of a GICv3.</summary>
/// <remarks>
/// <code>
/// IIDR, CTLR                          first: they decide what the other registers mean
/// redistributor of each vCPU          WAKER, PROPBASER, PENDBASER, CTLR; the private interrupts
/// distributor                         the shared interrupts, and IROUTER of each
/// line levels                         after the configuration, which decides what a level is
/// interface of each vCPU              active priorities by the number of priority bits
/// </code>
/// Source: Documentation/virt/kvm/devices/arm-vgic-v3.rst; GICv3 architecture specification (IHI 0069), chapter 12.
/// </remarks>
internal static class Arm64GicState
{
    // GICD_*, and the same in the redistributor's SGI frame.
    private const uint Control = 0x0000;
    private const uint Implementer = 0x0008;
    private const uint Group = 0x0080;
    private const uint Enable = 0x0100;
    private const uint Pending = 0x0200;
    private const uint Active = 0x0300;
    private const uint Priority = 0x0400;
    private const uint Configuration = 0x0c00;
    private const uint Route = 0x6000;

    // A write to Enable or Active sets bits; the registers that clear them follow.
    private const uint ClearDistance = 0x80;

    // GICR_*.
    private const uint Waker = 0x0014;
    private const uint PropertyTable = 0x0070;
    private const uint PendingTable = 0x0078;
    private const uint SgiFrame = 0x1_0000;

    private const int Private = 32;

    // ICC_CTLR_EL1.PRIbits, the number of priority bits less 1.
    private const int PriorityBitsShift = 8;

    private static readonly Arm64Register InterfaceControl = Arm64Register.OfSystem(3, 0, 12, 12, 4);

    // ICC_SRE, CTLR, PMR, BPR0, BPR1, IGRPEN0, IGRPEN1.
    private static readonly Arm64Register[] Interface =
    [
        Arm64Register.OfSystem(3, 0, 12, 12, 5),
        InterfaceControl,
        Arm64Register.InterruptPriorityMask,
        Arm64Register.OfSystem(3, 0, 12, 8, 3),
        Arm64Register.OfSystem(3, 0, 12, 12, 3),
        Arm64Register.InterruptGroup0Enable,
        Arm64Register.InterruptGroup1Enable,
    ];

    /// <summary>Reads the state.</summary>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    internal static ImmutableArray<Arm64GicEntry> Save(KvmDevice device, int interruptCount, uint[] affinities)
    {
        List<Arm64GicEntry> state = [];
        Read(Arm64Gic.GroupDistributor, 0, Implementer, Control);
        foreach (uint affinity in affinities)
        {
            Read(Arm64Gic.GroupRedistributor, affinity, Waker);
            ReadTable(affinity, PropertyTable);
            ReadTable(affinity, PendingTable);
            Read(Arm64Gic.GroupRedistributor, affinity, Control);
            ReadInterrupts(Arm64Gic.GroupRedistributor, affinity, SgiFrame, 0, Private);
        }

        ReadInterrupts(Arm64Gic.GroupDistributor, 0, 0, Private, interruptCount);
        for (uint interrupt = Private; interrupt < interruptCount; interrupt++)
        {
            Read(Arm64Gic.GroupDistributor, 0, Route + (interrupt * 8), Route + (interrupt * 8) + 4);
        }

        foreach (uint affinity in affinities)
        {
            Read(Arm64Gic.GroupLevelInfo, affinity, 0);
        }

        for (uint first = Private; first < interruptCount; first += 32)
        {
            Read(Arm64Gic.GroupLevelInfo, affinities[0], first);
        }

        foreach (uint affinity in affinities)
        {
            ReadInterface(affinity);
        }

        return [.. state];

        void Read(uint group, uint affinity, params ReadOnlySpan<uint> offsets)
        {
            foreach (uint offset in offsets)
            {
                ulong attribute = (ulong)affinity << Arm64Gic.AffinityShift | offset;
                state.Add(new Arm64GicEntry(group, attribute, device.GetAttribute<uint>(group, attribute)));
            }
        }

        // A guest without LPIs leaves it at 0, which KVM does not keep when it is written.
        void ReadTable(uint affinity, uint offset)
        {
            int count = state.Count;
            Read(Arm64Gic.GroupRedistributor, affinity, offset, offset + 4);
            if (state[count].Value == 0 && state[count + 1].Value == 0)
            {
                state.RemoveRange(count, 2);
            }
        }

        // A bit, a byte or two bits for each interrupt.
        void ReadInterrupts(uint group, uint affinity, uint frame, int first, int end)
        {
            foreach ((uint register, int bits) in ((uint, int)[])
                [(Group, 1), (Configuration, 2), (Priority, 8), (Enable, 1), (Pending, 1), (Active, 1)])
            {
                for (int word = first * bits / 32; word < end * bits / 32; word++)
                {
                    Read(group, affinity, frame + register + ((uint)word * 4));
                }
            }
        }

        void ReadInterface(uint affinity)
        {
            foreach (Arm64Register register in Interface)
            {
                ReadInterfaceRegister(affinity, register);
            }

            ulong control = device.GetAttribute<ulong>(
                Arm64Gic.GroupCpuRegisters, (ulong)affinity << Arm64Gic.AffinityShift | (ushort)InterfaceControl.Id);
            int bits = (int)(control >> PriorityBitsShift & 7) + 1;
            int activeRegisters = 1 << int.Max(0, bits - 5);
            for (int index = 0; index < activeRegisters; index++)
            {
                // ICC_AP0Rn_EL1 and ICC_AP1Rn_EL1.
                ReadInterfaceRegister(affinity, Arm64Register.OfSystem(3, 0, 12, 8, 4 + index));
                ReadInterfaceRegister(affinity, Arm64Register.OfSystem(3, 0, 12, 9, index));
            }
        }

        void ReadInterfaceRegister(uint affinity, Arm64Register register)
        {
            ulong attribute = (ulong)affinity << Arm64Gic.AffinityShift | (ushort)register.Id;
            state.Add(new Arm64GicEntry(
                Arm64Gic.GroupCpuRegisters, attribute,
                device.GetAttribute<ulong>(Arm64Gic.GroupCpuRegisters, attribute)));
        }
    }

    /// <summary>Writes the state.</summary>
    /// <exception cref="SystemCallException">KVM refuses.</exception>
    internal static void Restore(KvmDevice device, ImmutableArray<Arm64GicEntry> state)
    {
        foreach ((uint group, ulong attribute, ulong value) in state)
        {
            if (group == Arm64Gic.GroupCpuRegisters)
            {
                device.SetAttribute(group, attribute, in value);
                continue;
            }

            if (SetsBits(group, attribute))
            {
                device.SetAttribute(group, attribute + ClearDistance, uint.MaxValue);
            }

            device.SetAttribute(group, attribute, (uint)value);
        }
    }

    private static bool SetsBits(uint group, ulong attribute)
    {
        uint offset = (uint)attribute;
        if (group == Arm64Gic.GroupRedistributor)
        {
            // The physical frame has other registers at these offsets.
            return offset >= SgiFrame && IsIn(offset - SgiFrame);
        }

        return group == Arm64Gic.GroupDistributor && IsIn(offset);

        static bool IsIn(uint offset) => offset is (>= Enable and < Enable + ClearDistance)
            or (>= Active and < Active + ClearDistance);
    }
}
