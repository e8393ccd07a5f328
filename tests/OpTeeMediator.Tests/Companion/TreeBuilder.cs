using System.Buffers.Binary;
using System.Text;

namespace OpTeeMediator.Tests.Companion;

/// <summary>Writes device trees by the specification, with another idea of it than the product's.</summary>
internal sealed class TreeBuilder
{
    private readonly List<byte> _structure = [];
    private readonly List<byte> _names = [];

    public TreeBuilder Begin(string name) => Word(1).Text(name);

    public TreeBuilder End() => Word(2);

    public TreeBuilder Property(string name, params uint[] cells)
    {
        Word(3).Word((uint)cells.Length * 4).Word((uint)_names.Count);
        _names.AddRange(Encoding.ASCII.GetBytes(name));
        _names.Add(0);
        Array.ForEach(cells, cell => Word(cell));
        return this;
    }

    public byte[] ToArray()
    {
        Word(9);
        uint[] header = [0xd00d_feed, (uint)(40 + _structure.Count + _names.Count), 40, (uint)(40 + _structure.Count),
            40, 17, 16, 0, (uint)_names.Count, (uint)_structure.Count];
        return [.. header.SelectMany(Bytes), .. _structure, .. _names];
    }

    private static byte[] Bytes(uint value)
    {
        byte[] bytes = new byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(bytes, value);
        return bytes;
    }

    private TreeBuilder Word(uint value)
    {
        _structure.AddRange(Bytes(value));
        return this;
    }

    private TreeBuilder Text(string text)
    {
        _structure.AddRange(Encoding.ASCII.GetBytes(text));
        do
        {
            _structure.Add(0);
        }
        while (_structure.Count % 4 != 0);
        return this;
    }
}
