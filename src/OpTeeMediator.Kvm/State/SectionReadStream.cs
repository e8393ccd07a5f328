using System.Buffers.Binary;

namespace OpTeeMediator.Kvm.State;

/// <summary>A section while it is read.</summary>
internal sealed class SectionReadStream(ChunkReader chunks) : StateStream
{
    private int _left;
    private bool _isAtEnd;

    public override bool CanRead => true;

    public override bool CanWrite => false;

    /// <summary>Whether all of the section was read.</summary>
    internal bool IsAtEnd
    {
        get
        {
            if (_left == 0 && !_isAtEnd)
            {
                Span<byte> length = stackalloc byte[sizeof(uint)];
                chunks.Read(length);
                uint number = BinaryPrimitives.ReadUInt32LittleEndian(length);
                if (number > SectionWriteStream.LargestPiece)
                {
                    throw new InvalidDataException($"The saved state has a piece of {number} bytes.");
                }

                _left = (int)number;
                _isAtEnd = number == 0;
            }

            return _isAtEnd;
        }
    }

    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    public override int Read(Span<byte> buffer)
    {
        if (buffer.IsEmpty || IsAtEnd)
        {
            return 0;
        }

        int part = int.Min(buffer.Length, _left);
        chunks.Read(buffer[..part]);
        _left -= part;
        return part;
    }

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
}
