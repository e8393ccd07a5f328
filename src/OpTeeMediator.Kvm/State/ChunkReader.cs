using System.Buffers.Binary;

namespace OpTeeMediator.Kvm.State;

/// <summary>Reads what <see cref="ChunkWriter"/> has written: nothing that is not checked.</summary>
/// <remarks>Not thread-safe.</remarks>
internal sealed class ChunkReader(Stream source, ChunkProtection protection)
{
    private readonly byte[] _chunk =
        new byte[ChunkWriter.HeaderSize + ChunkWriter.ChunkSize + ChunkProtection.TagSize];

    private int _position;
    private int _length;
    private bool _isLast;

    /// <summary>Whether all has been read, up to the last chunk's end.</summary>
    /// <exception cref="InvalidDataException">The state is cut off, or was changed.</exception>
    internal bool IsAtEnd
    {
        get
        {
            while (_position == _length && !_isLast)
            {
                ReadChunk();
            }

            return _position == _length;
        }
    }

    /// <summary>Reads as much as is asked for.</summary>
    /// <exception cref="InvalidDataException">There is not that much, or it was changed.</exception>
    internal void Read(Span<byte> destination)
    {
        while (!destination.IsEmpty)
        {
            if (IsAtEnd)
            {
                throw new InvalidDataException("The saved state ends too early.");
            }

            int part = int.Min(destination.Length, _length - _position);
            _chunk.AsSpan(ChunkWriter.HeaderSize + _position, part).CopyTo(destination);
            _position += part;
            destination = destination[part..];
        }
    }

    /// <summary>Reads from the source itself.</summary>
    internal static void ReadExactly(Stream source, Span<byte> destination)
    {
        try
        {
            source.ReadExactly(destination);
        }
        catch (EndOfStreamException)
        {
            throw new InvalidDataException("The saved state is cut off.");
        }
    }

    private void ReadChunk()
    {
        Span<byte> header = _chunk.AsSpan(0, ChunkWriter.HeaderSize);
        ReadExactly(source, header);
        uint word = BinaryPrimitives.ReadUInt32LittleEndian(header);
        uint length = word & ~ChunkWriter.LastChunk;
        bool isLast = (word & ChunkWriter.LastChunk) != 0;
        if (length > ChunkWriter.ChunkSize || (!isLast && length == 0))
        {
            throw Changed();
        }

        Span<byte> rest = _chunk.AsSpan(ChunkWriter.HeaderSize, (int)length + ChunkProtection.TagSize);
        ReadExactly(source, rest);
        if (!protection.TryOpen(header, rest[..(int)length], rest[(int)length..]))
        {
            throw Changed();
        }

        (_position, _length, _isLast) = (0, (int)length, isLast);
    }

    private static InvalidDataException Changed() =>
        new("The saved state is damaged or was changed, or its key is another one.");
}
