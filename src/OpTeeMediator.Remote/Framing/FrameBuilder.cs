using System.Buffers.Binary;

namespace OpTeeMediator.Remote.Framing;

/// <summary>Writes one frame after the other into memory that is used again. Not thread-safe.</summary>
internal sealed class FrameBuilder
{
    // Frames with memory of many pieces are rare; what they needed is not kept.
    private const int KeptLength = 16 * 1024;
    private const int InitialLength = 512;

    private byte[] _bytes = new byte[InitialLength];
    private int _length;

    /// <summary>The frame's length so far, in bytes.</summary>
    public int Length => _length;

    /// <summary>The frame, complete.</summary>
    public ReadOnlySpan<byte> Frame
    {
        get
        {
            BinaryPrimitives.WriteInt32LittleEndian(_bytes, _length);
            return _bytes.AsSpan(0, _length);
        }
    }

    /// <summary>Begins a frame; an earlier one is gone.</summary>
    public void Begin(FrameType type, uint partition, uint operation)
    {
        if (_bytes.Length > KeptLength)
        {
            _bytes = new byte[InitialLength];
        }

        _length = sizeof(int);
        BinaryPrimitives.WriteUInt16LittleEndian(Extend(sizeof(ushort)), (ushort)type);
        BinaryPrimitives.WriteUInt16LittleEndian(Extend(sizeof(ushort)), 0);
        Write(partition);
        Write(operation);
    }

    public void Write(uint value) => BinaryPrimitives.WriteUInt32LittleEndian(Extend(sizeof(uint)), value);

    public void Write(ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(Extend(sizeof(ulong)), value);

    public void Write(Guid value) => _ = value.TryWriteBytes(Extend(16), bigEndian: true, out _);

    public void Write(ReadOnlySpan<byte> bytes) => bytes.CopyTo(Extend(bytes.Length));

    /// <summary>Writes a number that is known only later.</summary>
    /// <returns>Where it stands, for <see cref="Overwrite"/>.</returns>
    public int Reserve()
    {
        Write(0u);
        return _length - sizeof(uint);
    }

    /// <summary>Writes the number of <see cref="Reserve"/>.</summary>
    public void Overwrite(int position, uint value) =>
        BinaryPrimitives.WriteUInt32LittleEndian(_bytes.AsSpan(position), value);

    private Span<byte> Extend(int count)
    {
        if (count > _bytes.Length - _length)
        {
            Array.Resize(ref _bytes, Math.Max(_bytes.Length * 2, _length + count));
        }

        Span<byte> extension = _bytes.AsSpan(_length, count);
        _length += count;
        return extension;
    }
}
