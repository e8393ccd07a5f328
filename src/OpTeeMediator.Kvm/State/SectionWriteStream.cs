using System.Buffers.Binary;

namespace OpTeeMediator.Kvm.State;

/// <summary>A section while it is written: pieces with their lengths, and 0 at the end.</summary>
internal sealed class SectionWriteStream(ChunkWriter chunks, Action closed) : StateStream
{
    internal const int LargestPiece = 64 << 10;

    private readonly byte[] _piece = new byte[sizeof(uint) + LargestPiece];
    private long _position;
    private int _length;
    private bool _isClosed;

    public override bool CanRead => false;

    public override bool CanWrite => true;

    /// <summary>How many bytes were written.</summary>
    public override long Position
    {
        get => _position;
        set => throw new NotSupportedException();
    }

    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    public override void Write(ReadOnlySpan<byte> buffer)
    {
        ObjectDisposedException.ThrowIf(_isClosed, this);
        _position += buffer.Length;
        while (!buffer.IsEmpty)
        {
            int part = int.Min(buffer.Length, LargestPiece - _length);
            buffer[..part].CopyTo(_piece.AsSpan(sizeof(uint) + _length));
            _length += part;
            buffer = buffer[part..];
            if (_length == LargestPiece)
            {
                WritePiece();
            }
        }
    }

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    protected override void Dispose(bool disposing)
    {
        if (disposing && !_isClosed)
        {
            _isClosed = true;
            if (_length > 0)
            {
                WritePiece();
            }

            WritePiece();
            closed();
        }

        base.Dispose(disposing);
    }

    private void WritePiece()
    {
        BinaryPrimitives.WriteUInt32LittleEndian(_piece, (uint)_length);
        chunks.Write(_piece.AsSpan(0, sizeof(uint) + _length));
        _length = 0;
    }
}
