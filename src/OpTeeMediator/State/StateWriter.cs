using System.Buffers;
using System.Buffers.Binary;

namespace OpTeeMediator.State;

/// <summary>Writes the fields of a state one after another, little-endian.</summary>
/// <remarks>Not thread-safe.</remarks>
internal sealed class StateWriter
{
    private readonly ArrayBufferWriter<byte> _buffer = new();

    public ReadOnlySpan<byte> Written => _buffer.WrittenSpan;

    public void WriteByte(byte value) => WriteRaw([value]);

    public void WriteBoolean(bool value) => WriteByte(value ? (byte)1 : (byte)0);

    public void WriteUInt32(uint value)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(_buffer.GetSpan(sizeof(uint)), value);
        _buffer.Advance(sizeof(uint));
    }

    public void WriteUInt64(ulong value)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(_buffer.GetSpan(sizeof(ulong)), value);
        _buffer.Advance(sizeof(ulong));
    }

    public void WriteCount(int value) => WriteUInt32((uint)value);

    /// <summary>Writes the 16 octets of a UUID, in the order in which it is printed.</summary>
    public void WriteUuid(Guid value)
    {
        const int Length = 16;
        _ = value.TryWriteBytes(_buffer.GetSpan(Length), bigEndian: true, out _);
        _buffer.Advance(Length);
    }

    /// <summary>Writes bytes whose number the reader knows.</summary>
    public void WriteRaw(ReadOnlySpan<byte> bytes) => _buffer.Write(bytes);

    /// <summary>Writes a number of bytes, and the bytes.</summary>
    public void WriteBlock(ReadOnlySpan<byte> bytes)
    {
        WriteCount(bytes.Length);
        WriteRaw(bytes);
    }
}
