using System.Buffers.Binary;

namespace OpTeeMediator.Linux.Companion;

/// <summary>The registers that a GICv3 has for each interrupt, as a secure system sees them: of a distributor, or of a
/// redistributor's SGI frame.</summary>
/// <remarks>
/// <code>
/// 0x080 IGROUPR     read and write          0x280 ICPENDR     reads 0, ignores writes
/// 0x100 ISENABLER   a 1 enables             0x400 IPRIORITYR  read and write
/// 0x180 ICENABLER   a 1 disables            0xc00 ICFGR       read and write
/// 0x200 ISPENDR     a 1 sets pending        0xd00 IGRPMODR    read and write
/// </code>
/// Offsets in bytes; all others read 0 and ignore writes. Nothing here interrupts anybody: enabling and routing is
/// remembered so that it reads back, and what is set pending is told to the caller. Source: Arm GICv3 architecture (IHI
/// 0069), "The Distributor register map". Not thread-safe.
/// </remarks>
/// <param name="interrupts">The number of interrupts, a multiple of 32.</param>
internal sealed class GicBank(int interrupts)
{
    private const int Group = 0x080;
    private const int SetEnable = 0x100;
    private const int ClearEnable = 0x180;
    private const int SetPending = 0x200;
    private const int ClearPending = 0x280;
    private const int Priority = 0x400;
    private const int Targets = 0x800;
    private const int Configuration = 0xc00;
    private const int GroupModifier = 0xd00;
    private const int NonSecureAccess = 0xe00;

    private readonly byte[] _groups = new byte[interrupts / 8];
    private readonly byte[] _enabled = new byte[interrupts / 8];
    private readonly byte[] _priorities = new byte[interrupts];
    private readonly byte[] _configuration = new byte[interrupts / 4];
    private readonly byte[] _modifiers = new byte[interrupts / 8];

    /// <summary>Sets the groups of 32 interrupts.</summary>
    internal void SetGroups(int word, uint groups, uint modifiers)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(_groups.AsSpan(word * sizeof(uint)), groups);
        BinaryPrimitives.WriteUInt32LittleEndian(_modifiers.AsSpan(word * sizeof(uint)), modifiers);
    }

    /// <summary>Whether an interrupt is the normal world's (group 1, not secure).</summary>
    internal bool IsNonSecure(int interrupt) =>
        (_groups[interrupt / 8] >> (interrupt % 8) & 1) != 0 && (_modifiers[interrupt / 8] >> (interrupt % 8) & 1) == 0;

    internal void Save(BinaryWriter writer)
    {
        foreach (byte[] registers in (byte[][])[_groups, _enabled, _priorities, _configuration, _modifiers])
        {
            writer.Write(registers);
        }
    }

    internal void Restore(BinaryReader reader)
    {
        foreach (byte[] registers in (byte[][])[_groups, _enabled, _priorities, _configuration, _modifiers])
        {
            reader.BaseStream.ReadExactly(registers);
        }
    }

    internal void Read(int offset, Span<byte> data)
    {
        data.Clear();
        (byte[]? registers, int start) = offset switch
        {
            >= Group and < SetEnable => (_groups, Group),
            >= SetEnable and < ClearEnable => (_enabled, SetEnable),
            >= ClearEnable and < SetPending => (_enabled, ClearEnable),
            >= Priority and < Targets => (_priorities, Priority),
            >= Configuration and < GroupModifier => (_configuration, Configuration),
            >= GroupModifier and < NonSecureAccess => (_modifiers, GroupModifier),
            _ => (null, 0),
        };
        if (registers is not null && offset - start < registers.Length)
        {
            ReadOnlySpan<byte> present = registers.AsSpan(offset - start);
            present[..int.Min(present.Length, data.Length)].CopyTo(data);
        }
    }

    /// <summary>Takes a write. What is set pending: bit n for 32 × <paramref name="word"/> + n.</summary>
    internal uint Write(int offset, ReadOnlySpan<byte> data, out int word)
    {
        word = 0;
        switch (offset)
        {
            case >= Group and < SetEnable:
                Store(_groups, offset - Group, data);
                break;
            case >= SetEnable and < ClearEnable:
                Change(_enabled, offset - SetEnable, data, isSet: true);
                break;
            case >= ClearEnable and < SetPending:
                Change(_enabled, offset - ClearEnable, data, isSet: false);
                break;
            case >= SetPending and < ClearPending
                when data.Length == sizeof(uint) && offset % sizeof(uint) == 0 && offset - SetPending < _groups.Length:
                word = (offset - SetPending) / sizeof(uint);
                return BinaryPrimitives.ReadUInt32LittleEndian(data);
            case >= Priority and < Targets:
                Store(_priorities, offset - Priority, data);
                break;
            case >= Configuration and < GroupModifier:
                Store(_configuration, offset - Configuration, data);
                break;
            case >= GroupModifier and < NonSecureAccess:
                Store(_modifiers, offset - GroupModifier, data);
                break;
            default:
                break;
        }

        return 0;
    }

    private static void Store(byte[] registers, int index, ReadOnlySpan<byte> data)
    {
        if (index < registers.Length)
        {
            data[..int.Min(data.Length, registers.Length - index)].CopyTo(registers.AsSpan(index));
        }
    }

    private static void Change(byte[] registers, int index, ReadOnlySpan<byte> data, bool isSet)
    {
        for (int count = 0; count < data.Length && index + count < registers.Length; count++)
        {
            byte before = registers[index + count];
            registers[index + count] = (byte)(isSet ? before | data[count] : before & ~data[count]);
        }
    }
}
