using System.Buffers;
using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using System.Text;

namespace OpTeeMediator.Kvm.DeviceTree;

/// <summary>Writes a flattened device tree, the form in which a kernel gets the description of its machine.</summary>
/// <remarks>
/// <code>
/// DeviceTreeWriter tree = new();
/// using (tree.Node(""))
/// {
///     tree.Cells("#address-cells", 2);
///     using (tree.Node("memory@40000000")) { tree.Numbers("reg", 0x4000_0000, 0x1000_0000); }
/// }
/// byte[] bytes = tree.ToArray();
/// </code>
/// Source: Devicetree Specification, chapter 5, version 17 of the format. Not thread-safe.
/// </remarks>
[Experimental("OPTEE001")]
public sealed class DeviceTreeWriter
{
    private readonly ArrayBufferWriter<byte> _structure = new();
    private readonly ArrayBufferWriter<byte> _strings = new();
    private readonly Dictionary<string, uint> _stringOffsets = [];
    private int _openNodes;

    /// <summary>Begins a node; disposing of the result ends it. Properties come before nodes within it.</summary>
    /// <param name="name">Its name in ASCII, with the unit address if it has one; empty for the root.</param>
    /// <exception cref="ArgumentNullException"><paramref name="name"/> is <see langword="null"/>.</exception>
    public DeviceTreeNode Node(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        _openNodes++;
        Write(_structure, DeviceTreeFormat.BeginNode);
        WriteText(_structure, name);
        Pad();
        return new DeviceTreeNode(this);
    }

    /// <summary>Adds a property without a value.</summary>
    /// <param name="name">Its name.</param>
    public void Flag(string name) => Property(name, []);

    /// <summary>Adds a property of 32-bit cells.</summary>
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

    /// <summary>Adds a property of 64-bit numbers: addresses and sizes where each takes two cells.</summary>
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

    /// <summary>Adds a property of text.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="texts">Its value: one string, or a list of strings.</param>
    public void Text(string name, params ReadOnlySpan<string> texts)
    {
        ArrayBufferWriter<byte> value = new();
        foreach (string text in texts)
        {
            WriteText(value, text);
        }

        Property(name, value.WrittenSpan);
    }

    /// <summary>Adds a property of bytes.</summary>
    /// <param name="name">Its name in ASCII, at most 31 characters.</param>
    /// <param name="value">Its value.</param>
    /// <exception cref="ArgumentNullException"><paramref name="name"/> is <see langword="null"/>.</exception>
    /// <exception cref="InvalidOperationException">No node is open.</exception>
    public void Property(string name, ReadOnlySpan<byte> value)
    {
        ArgumentNullException.ThrowIfNull(name);
        if (_openNodes == 0)
        {
            throw new InvalidOperationException($"The property '{name}' belongs to no node; begin one with Node.");
        }

        Write(_structure, DeviceTreeFormat.Property);
        Write(_structure, (uint)value.Length);
        Write(_structure, OffsetOf(name));
        _structure.Write(value);
        Pad();
    }

    /// <summary>Gives the device tree. To be called once, after the root is ended.</summary>
    /// <returns>Its bytes, for an address that is a multiple of 8.</returns>
    /// <exception cref="InvalidOperationException">A node is open.</exception>
    public byte[] ToArray()
    {
        if (_openNodes != 0)
        {
            throw new InvalidOperationException($"{_openNodes} nodes are open; dispose of them first.");
        }

        Write(_structure, DeviceTreeFormat.End);
        uint structureOffset = DeviceTreeFormat.HeaderSize + DeviceTreeFormat.EmptyReservationsSize;
        uint stringsOffset = structureOffset + (uint)_structure.WrittenCount;
        uint size = stringsOffset + (uint)_strings.WrittenCount;
        ReadOnlySpan<uint> header =
        [
            DeviceTreeFormat.Magic, size, structureOffset, stringsOffset, DeviceTreeFormat.HeaderSize,
            DeviceTreeFormat.Version, DeviceTreeFormat.LastCompatibleVersion, DeviceTreeFormat.BootCpu,
            (uint)_strings.WrittenCount, (uint)_structure.WrittenCount,
        ];
        ArrayBufferWriter<byte> tree = new((int)size);
        foreach (uint field in header)
        {
            Write(tree, field);
        }

        tree.Write(stackalloc byte[DeviceTreeFormat.EmptyReservationsSize]);
        tree.Write(_structure.WrittenSpan);
        tree.Write(_strings.WrittenSpan);
        return tree.WrittenSpan.ToArray();
    }

    internal void EndNode()
    {
        Write(_structure, DeviceTreeFormat.EndNode);
        _openNodes--;
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

    private void Pad() => _structure.Write(stackalloc byte[-_structure.WrittenCount & (sizeof(uint) - 1)]);

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
}
