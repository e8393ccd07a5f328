using System.Buffers.Binary;

namespace OpTeeMediator.Remote.Framing;

/// <summary>Reads the body of a frame; what is not there is a <see cref="ProtocolException"/>.</summary>
internal ref struct FrameReader(ReadOnlySpan<byte> body)
{
    private ReadOnlySpan<byte> _rest = body;

    public readonly int Remaining => _rest.Length;

    public ushort ReadUInt16() => BinaryPrimitives.ReadUInt16LittleEndian(Take(sizeof(ushort)));

    public uint ReadUInt32() => BinaryPrimitives.ReadUInt32LittleEndian(Take(sizeof(uint)));

    public ulong ReadUInt64() => BinaryPrimitives.ReadUInt64LittleEndian(Take(sizeof(ulong)));

    public Guid ReadGuid() => new(Take(16), bigEndian: true);

    public ReadOnlySpan<byte> Take(int count)
    {
        if ((uint)count > (uint)_rest.Length)
        {
            throw new ProtocolException($"a message that ends {count - _rest.Length} bytes too early");
        }

        ReadOnlySpan<byte> taken = _rest[..count];
        _rest = _rest[count..];
        return taken;
    }

    /// <summary>The body ends here.</summary>
    public readonly void End()
    {
        if (!_rest.IsEmpty)
        {
            throw new ProtocolException($"a message with {_rest.Length} bytes too many");
        }
    }
}
