using System.Buffers.Binary;
using OpTeeMediator.Kvm.DeviceTree;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Linux.Companion;

/// <summary>Finds what is reserved in a device tree: <c>reg</c> of the nodes in <c>/reserved-memory</c>.</summary>
/// <remarks>OP-TEE has written the tree before the guest runs; all offsets are checked nevertheless. Source: Devicetree
/// Specification, chapter 5.</remarks>
internal ref struct ReservedMemoryReader
{
    private const int ReservedMemoryDepth = 2;

    private readonly ReadOnlySpan<byte> _structure;
    private readonly ReadOnlySpan<byte> _names;
    private int _position;
    private int _addressCells = 2;
    private int _sizeCells = 2;

    private ReservedMemoryReader(ReadOnlySpan<byte> structure, ReadOnlySpan<byte> names)
    {
        _structure = structure;
        _names = names;
    }

    /// <summary>Reads the reserved ranges from a device tree, which bytes may follow. Fails if it is none.</summary>
    internal static bool TryRead(ReadOnlySpan<byte> tree, out List<GuestRange> ranges)
    {
        ranges = [];
        return tree.Length >= DeviceTreeFormat.HeaderSize && Word(tree) == DeviceTreeFormat.Magic
            && TryGetBlock(
                tree, DeviceTreeFormat.StructureOffset, DeviceTreeFormat.StructureSize,
                out ReadOnlySpan<byte> structure)
            && TryGetBlock(
                tree, DeviceTreeFormat.StringsOffset, DeviceTreeFormat.StringsSize, out ReadOnlySpan<byte> names)
            && new ReservedMemoryReader(structure, names).TryWalk(ranges);
    }

    private bool TryWalk(List<GuestRange> ranges)
    {
        int depth = 0;
        bool isInside = false;
        while (TryTakeWord(out uint token))
        {
            switch (token)
            {
                case DeviceTreeFormat.Nop:
                    break;

                case DeviceTreeFormat.BeginNode:
                    if (!TryTakeText(out ReadOnlySpan<byte> name))
                    {
                        return false;
                    }

                    depth++;
                    isInside = depth == ReservedMemoryDepth ? name.SequenceEqual("reserved-memory"u8) : isInside;
                    break;

                case DeviceTreeFormat.EndNode:
                    depth--;
                    isInside &= depth >= ReservedMemoryDepth;
                    break;

                case DeviceTreeFormat.Property:
                    if (!TryTakeProperty(out name, out ReadOnlySpan<byte> value))
                    {
                        return false;
                    }

                    AddProperty(depth, isInside, name, value, ranges);
                    break;

                default:
                    return token == DeviceTreeFormat.End && depth == 0;
            }
        }

        return false;
    }

    // The name is all that begins there: to look for the end of each would take hours if none had one.
    private void AddProperty(
        int depth, bool isInside, ReadOnlySpan<byte> name, ReadOnlySpan<byte> value, List<GuestRange> ranges)
    {
        // A node's numbers have as many cells as /reserved-memory specifies, or else as the root does.
        bool isParent = depth == ReservedMemoryDepth - 1 || (isInside && depth == ReservedMemoryDepth);
        if (isParent && value.Length == sizeof(uint))
        {
            int cells = (int)uint.Min(Word(value), 2);
            _addressCells = name.StartsWith("#address-cells\0"u8) ? cells : _addressCells;
            _sizeCells = name.StartsWith("#size-cells\0"u8) ? cells : _sizeCells;
        }
        else if (isInside && depth == ReservedMemoryDepth + 1 && name.StartsWith("reg\0"u8))
        {
            int entry = (_addressCells + _sizeCells) * sizeof(uint);
            for (; entry > 0 && value.Length >= entry; value = value[entry..])
            {
                ulong start = Cells(value, _addressCells);
                ulong length = Cells(value[(_addressCells * sizeof(uint))..], _sizeCells);
                if (length <= ulong.MaxValue - start)
                {
                    ranges.Add(new GuestRange(start, length));
                }
            }
        }
    }

    private bool TryTakeProperty(out ReadOnlySpan<byte> name, out ReadOnlySpan<byte> value)
    {
        name = value = default;
        if (!TryTakeWord(out uint length) || !TryTakeWord(out uint nameOffset)
            || length > (uint)(_structure.Length - _position) || nameOffset >= (uint)_names.Length)
        {
            return false;
        }

        value = _structure.Slice(_position, (int)length);
        name = _names[(int)nameOffset..];
        _position += (int)length;
        Align();
        return true;
    }

    private bool TryTakeText(out ReadOnlySpan<byte> text)
    {
        text = _structure[_position..];
        int end = text.IndexOf((byte)0);
        if (end < 0)
        {
            return false;
        }

        text = text[..end];
        _position += end + 1;
        Align();
        return true;
    }

    private bool TryTakeWord(out uint word)
    {
        bool isThere = _structure.Length - _position >= sizeof(uint);
        word = isThere ? Word(_structure[_position..]) : 0;
        _position += isThere ? sizeof(uint) : 0;
        return isThere;
    }

    private void Align() =>
        _position = int.Min(_structure.Length, (_position + sizeof(uint) - 1) & ~(sizeof(uint) - 1));

    private static ulong Cells(ReadOnlySpan<byte> bytes, int count) => count switch
    {
        0 => 0,
        1 => Word(bytes),
        _ => BinaryPrimitives.ReadUInt64BigEndian(bytes),
    };

    private static uint Word(ReadOnlySpan<byte> bytes) => BinaryPrimitives.ReadUInt32BigEndian(bytes);

    // The header has a block's offset and its size.
    private static bool TryGetBlock(
        ReadOnlySpan<byte> tree, int offsetField, int sizeField, out ReadOnlySpan<byte> block)
    {
        uint offset = DeviceTreeFormat.Field(tree, offsetField);
        uint length = DeviceTreeFormat.Field(tree, sizeField);
        bool isInside = offset <= (uint)tree.Length && length <= (uint)tree.Length - offset;
        block = isInside ? tree.Slice((int)offset, (int)length) : default;
        return isInside;
    }
}
