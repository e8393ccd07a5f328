using System.Buffers;
using System.Buffers.Binary;
using System.Text;

namespace KvmVmm.DeviceTree;

/// <summary>Writes a flattened device tree, the form in which a kernel gets it.</summary>
/// <remarks>
/// <code>
/// header · memory reservations (none) · structure: tokens of 32 bits · strings: the names of all properties
/// </code>
/// All numbers are big-endian. Source: Devicetree Specification, chapter 5, version 17 of the format. Not thread-safe.
/// </remarks>
internal sealed class DeviceTreeWriter
{
    private const uint Magic = 0xd00dfeed;
    private const uint Version = 17;
    private const uint LastCompatibleVersion = 16;
    private const uint BeginNode = 1;
    private const uint EndNode = 2;
    private const uint PropertyToken = 3;
    private const uint End = 9;
    private const int HeaderSize = 10 * sizeof(uint);
    private const int ReservationsSize = 2 * sizeof(ulong);

    private readonly ArrayBufferWriter<byte> _structure = new();
    private readonly ArrayBufferWriter<byte> _strings = new();
    private readonly Dictionary<string, uint> _stringOffsets = [];

    /// <summary>Begins a node; disposing of the answer ends it. The root's name is empty.</summary>
    /// <param name="name">The node's name, with its unit address if it has one.</param>
    /// <returns>The open node.</returns>
    public OpenNode Node(string name)
    {
        Write(_structure, BeginNode);
        WriteText(_structure, name);
        Pad();
        return new OpenNode(this);
    }

    /// <summary>A property without a value.</summary>
    /// <param name="name">Its name.</param>
    public void Flag(string name) => Property(name, ReadOnlySpan<byte>.Empty);

    /// <summary>A property of 32-bit cells.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="cells">Its value.</param>
    public void Cells(string name, params ReadOnlySpan<uint> cells)
    {
        byte[] value = new byte[cells.Length * sizeof(uint)];
        for (int index = 0; index < cells.Length; index++)
        {
            BinaryPrimitives.WriteUInt32BigEndian(value.AsSpan(index * sizeof(uint)), cells[index]);
        }

        Property(name, value);
    }

    /// <summary>A property of 64-bit numbers: addresses and sizes where both take two cells.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="numbers">Its value.</param>
    public void Numbers(string name, params ReadOnlySpan<ulong> numbers)
    {
        byte[] value = new byte[numbers.Length * sizeof(ulong)];
        for (int index = 0; index < numbers.Length; index++)
        {
            BinaryPrimitives.WriteUInt64BigEndian(value.AsSpan(index * sizeof(ulong)), numbers[index]);
        }

        Property(name, value);
    }

    /// <summary>A property of text.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="texts">Its value: one string, or a list of them.</param>
    public void Text(string name, params ReadOnlySpan<string> texts)
    {
        ArrayBufferWriter<byte> value = new();
        foreach (string text in texts)
        {
            WriteText(value, text);
        }

        Property(name, value.WrittenSpan);
    }

    /// <summary>A property of bytes.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="value">Its value.</param>
    public void Property(string name, ReadOnlySpan<byte> value)
    {
        Write(_structure, PropertyToken);
        Write(_structure, (uint)value.Length);
        Write(_structure, OffsetOf(name));
        _structure.Write(value);
        Pad();
    }

    /// <summary>The device tree, once every node is ended.</summary>
    /// <returns>Its bytes; they belong at an address that is a multiple of 8.</returns>
    public byte[] ToArray()
    {
        Write(_structure, End);
        uint structureOffset = HeaderSize + ReservationsSize;
        uint stringsOffset = structureOffset + (uint)_structure.WrittenCount;
        uint size = stringsOffset + (uint)_strings.WrittenCount;

        ArrayBufferWriter<byte> tree = new((int)size);
        uint bootCpu = 0;
        ReadOnlySpan<uint> header =
        [
            Magic, size, structureOffset, stringsOffset, HeaderSize, Version, LastCompatibleVersion, bootCpu,
            (uint)_strings.WrittenCount, (uint)_structure.WrittenCount,
        ];
        foreach (uint field in header)
        {
            Write(tree, field);
        }

        tree.Write(stackalloc byte[ReservationsSize]);
        tree.Write(_structure.WrittenSpan);
        tree.Write(_strings.WrittenSpan);
        return tree.WrittenSpan.ToArray();
    }

    private uint OffsetOf(string name)
    {
        if (!_stringOffsets.TryGetValue(name, out uint offset))
        {
            offset = (uint)_strings.WrittenCount;
            _stringOffsets.Add(name, offset);
            WriteText(_strings, name);
        }

        return offset;
    }

    private void Pad()
    {
        int padding = -_structure.WrittenCount & (sizeof(uint) - 1);
        _structure.Write(stackalloc byte[padding]);
    }

    private static void Write(ArrayBufferWriter<byte> target, uint value)
    {
        BinaryPrimitives.WriteUInt32BigEndian(target.GetSpan(sizeof(uint)), value);
        target.Advance(sizeof(uint));
    }

    private static void WriteText(ArrayBufferWriter<byte> target, string text)
    {
        _ = Encoding.UTF8.GetBytes(text, target);
        target.Write([(byte)0]);
    }

    /// <summary>A node to which properties and nodes are being added.</summary>
    /// <param name="writer">The writer.</param>
    internal readonly ref struct OpenNode(DeviceTreeWriter writer)
    {
        /// <summary>Ends the node.</summary>
        public void Dispose() => Write(writer._structure, EndNode);
    }
}
