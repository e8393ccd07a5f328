using System.Buffers.Binary;
using System.Numerics;

namespace OpTeeMediator.Linux.Companion;

/// <summary>The GICv3 that OP-TEE sees: one with two security states, from the secure side.</summary>
/// <remarks>
/// KVM's own GIC has one security state, and its registers cannot be reached while a vCPU runs. So OP-TEE sets up this
/// one, of memory, while KVM's, out of its sight, injects the two interrupts that a core of OP-TEE knows: the
/// monitor's, by which a call is preempted, and its timer's.
/// <code>
/// distributor     0x0000 CTLR 0x37 (secure and non-secure groups on, affinity routing)
///                 0x0004 TYPER: 256 interrupts, security extension    0xffe8 PIDR2: GICv3    the others: GicBank
/// redistributor   0x00008 TYPER: number, affinity, last    0x00014 WAKER: awake    0x0ffe8 PIDR2
///                 0x10000 SGI frame: GicBank
/// </code>
/// Source: Arm GICv3 architecture (IHI 0069). Thread-safe.
/// </remarks>
internal sealed class SecureGic
{
    internal const int DistributorSize = 0x1_0000;

    /// <summary>The size of a core's redistributor: two frames.</summary>
    internal const int RedistributorSize = 0x2_0000;

    private const int FrameSize = 0x1_0000;
    private const int PrivateInterrupts = 32;
    private const int Interrupts = 256;

    private const int DistributorControl = 0x0000;
    private const int DistributorType = 0x0004;
    private const int RedistributorType = 0x0008;
    private const int PeripheralIdentification = 0xffe8;

    // GICD_CTLR: EnableGrp0, EnableGrp1NS, EnableGrp1S, ARE_S, ARE_NS. GICD_TYPER: ITLinesNumber 7, SecurityExtn, 10
    // bits of interrupt numbers, A3V.
    private const uint ControlValue = 0x37;
    private const uint TypeValue = 0x48_0407;
    private const uint GicVersion3 = 0x3b;

    // GICR_TYPER.Last.
    private const ulong LastRedistributor = 1 << 4;

    // At the monitor's hand-over SGIs 8–15 are secure (group 1, modified) and all other interrupts are the normal
    // world's, as TF-A leaves them.
    private const uint PrivateGroups = 0xffff_00ff;
    private const uint PrivateModifiers = 0x0000_ff00;
    private const uint AllNonSecure = uint.MaxValue;

    private readonly Lock _gate = new();
    private readonly GicBank _shared = new(Interrupts);
    private readonly GicBank[] _private;
    private readonly Action<int> _notify;

    /// <summary>As the monitor hands it over. It tells of the normal world's interrupts that OP-TEE raises.</summary>
    internal SecureGic(int cores, Action<int> notify)
    {
        _notify = notify;
        for (int word = 1; word < Interrupts / 32; word++)
        {
            _shared.SetGroups(word, AllNonSecure, modifiers: 0);
        }

        _private = new GicBank[cores];
        for (int core = 0; core < cores; core++)
        {
            _private[core] = new GicBank(PrivateInterrupts);
            _private[core].SetGroups(0, PrivateGroups, PrivateModifiers);
        }
    }

    internal void AccessDistributor(int offset, bool isWrite, Span<byte> data)
    {
        uint pending = 0;
        int word = 0;
        lock (_gate)
        {
            if (isWrite)
            {
                pending = _shared.Write(offset, data, out word);
            }
            else if (offset is DistributorControl or DistributorType or PeripheralIdentification)
            {
                Answer(data, offset switch
                {
                    DistributorControl => ControlValue,
                    DistributorType => TypeValue,
                    _ => GicVersion3,
                });
            }
            else
            {
                _shared.Read(offset, data);
            }
        }

        for (; pending != 0; pending &= pending - 1)
        {
            int interrupt = (word * 32) + BitOperations.TrailingZeroCount(pending);
            if (interrupt >= PrivateInterrupts && _shared.IsNonSecure(interrupt))
            {
                _notify(interrupt);
            }
        }
    }

    internal void AccessRedistributors(int offset, bool isWrite, Span<byte> data)
    {
        (int core, int inside) = int.DivRem(offset, RedistributorSize);
        if (core >= _private.Length)
        {
            if (!isWrite)
            {
                data.Clear();
            }

            return;
        }

        lock (_gate)
        {
            if (inside >= FrameSize)
            {
                AccessPrivate(_private[core], inside - FrameSize, isWrite, data);
            }
            else if (!isWrite)
            {
                Answer(data, inside switch
                {
                    RedistributorType => TypeOf(core),
                    RedistributorType + sizeof(uint) => TypeOf(core) >> 32,
                    PeripheralIdentification => GicVersion3,
                    _ => 0,
                });
            }
        }
    }

    /// <summary>Writes all registers.</summary>
    internal void Save(BinaryWriter writer)
    {
        lock (_gate)
        {
            _shared.Save(writer);
            foreach (GicBank bank in _private)
            {
                bank.Save(writer);
            }
        }
    }

    /// <summary>Restores all registers, of a GIC with as many cores.</summary>
    internal void Restore(BinaryReader reader)
    {
        lock (_gate)
        {
            _shared.Restore(reader);
            foreach (GicBank bank in _private)
            {
                bank.Restore(reader);
            }
        }
    }

    private static void AccessPrivate(GicBank bank, int offset, bool isWrite, Span<byte> data)
    {
        if (isWrite)
        {
            _ = bank.Write(offset, data, out _);
        }
        else
        {
            bank.Read(offset, data);
        }
    }

    // Affinity in bits 63:32, number in bits 23:8. Below 16 cores KVM's affinity of a vCPU is its number.
    private ulong TypeOf(int core) =>
        (ulong)core << 32 | (ulong)core << 8 | (core == _private.Length - 1 ? LastRedistributor : 0);

    private static void Answer(Span<byte> data, ulong value)
    {
        Span<byte> bytes = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        bytes[..data.Length].CopyTo(data);
    }
}
