using System.Buffers.Binary;

namespace OpTeeMediator.Fuzzing.Engine;

/// <summary>Reads an input as a sequence of choices; after its end all are 0.</summary>
public sealed class InputReader
{
    private readonly byte[] _bytes = new byte[4096];
    private int _length;
    private int _position;

    public bool IsAtEnd => _position >= _length;

    /// <summary>What is not read yet.</summary>
    public ReadOnlySpan<byte> Rest => _bytes.AsSpan(_position, _length - _position);

    public void Begin(ReadOnlySpan<byte> input)
    {
        _length = Math.Min(input.Length, _bytes.Length);
        input[.._length].CopyTo(_bytes);
        _position = 0;
    }

    public byte Byte() => _position < _length ? _bytes[_position++] : (byte)0;

    public int Below(int limit) => Byte() % limit;

    public uint UInt32() => (uint)Word(sizeof(uint));

    public ulong UInt64() => Word(sizeof(ulong));

    private ulong Word(int width)
    {
        Span<byte> word = stackalloc byte[sizeof(ulong)];
        int count = Math.Min(width, _length - _position);
        word.Clear();
        _bytes.AsSpan(_position, count).CopyTo(word);
        _position += count;
        return BinaryPrimitives.ReadUInt64LittleEndian(word);
    }
}
