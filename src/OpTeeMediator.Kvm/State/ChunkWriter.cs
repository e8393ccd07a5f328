using System.Buffers.Binary;

namespace OpTeeMediator.Kvm.State;

/// <summary>Cuts what is written into chunks and protects each.</summary>
/// <remarks>
/// <code>
/// chunk: 4 bytes, the length of its content, and bit 31 in the last one; the content; a tag of 16 bytes
/// </code>
/// All chunks have <see cref="ChunkSize"/> bytes of content but the last, and those that end at a flush; only the last
/// may have none. Not thread-safe.
/// </remarks>
internal sealed class ChunkWriter(Stream target, ChunkProtection protection)
{
    internal const int ChunkSize = 256 << 10;
    internal const int HeaderSize = 4;
    internal const uint LastChunk = 1u << 31;

    private readonly byte[] _chunk = new byte[HeaderSize + ChunkSize + ChunkProtection.TagSize];
    private int _length;

    internal void Write(ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            if (_length == ChunkSize)
            {
                WriteChunk(0);
            }

            int part = int.Min(bytes.Length, ChunkSize - _length);
            bytes[..part].CopyTo(_chunk.AsSpan(HeaderSize + _length));
            _length += part;
            bytes = bytes[part..];
        }
    }

    /// <summary>Writes what is left, and goes on with another chunk.</summary>
    internal void Flush()
    {
        if (_length > 0)
        {
            WriteChunk(0);
        }

        target.Flush();
    }

    internal void Complete() => WriteChunk(LastChunk);

    private void WriteChunk(uint flag)
    {
        Span<byte> header = _chunk.AsSpan(0, HeaderSize);
        BinaryPrimitives.WriteUInt32LittleEndian(header, (uint)_length | flag);
        protection.Protect(
            header, _chunk.AsSpan(HeaderSize, _length),
            _chunk.AsSpan(HeaderSize + _length, ChunkProtection.TagSize));
        target.Write(_chunk, 0, HeaderSize + _length + ChunkProtection.TagSize);
        _length = 0;
    }
}
