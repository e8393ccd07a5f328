using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using OpTeeMediator.Backends;
using OpTeeMediator.Remote.Framing;

namespace OpTeeMediator.Remote.Server;

/// <summary>A buffer of a VM in mapped files. Used again for one buffer after the other.</summary>
internal sealed unsafe class HostedMemory(bool isTemporary) : TeeSharedMemory
{
    private readonly List<MemoryPiece> _pieces = [];
    private ulong _size;
    private int _uses;

    public override ulong Size => _size;

    public override bool IsTemporary => isTemporary;

    public override int MappingGranule => Environment.SystemPageSize;

    /// <summary>Of how many pieces it consists.</summary>
    public int PieceCount => _pieces.Count;

    /// <summary>Whether an operation uses the buffer.</summary>
    public bool IsUsed => Volatile.Read(ref _uses) != 0;

    public void AddUse() => _ = Interlocked.Increment(ref _uses);

    public void RemoveUse() => _ = Interlocked.Decrement(ref _uses);

    /// <summary>Reads a buffer's description.</summary>
    /// <param name="body">The frame.</param>
    /// <param name="files">The VM's files.</param>
    /// <param name="maximumPieces">Of how many pieces it may consist.</param>
    /// <exception cref="ProtocolException">A piece leaves its file, or all are not the buffer's size.</exception>
    public void Describe(ref FrameReader body, HostedFiles files, int maximumPieces)
    {
        _pieces.Clear();
        BackendState = null;
        _size = body.ReadUInt64();
        uint count = body.ReadUInt32();
        if (count > (uint)maximumPieces || count > (uint)(body.Remaining / FrameFormat.RangeSize))
        {
            throw new ProtocolException($"a buffer of {count} pieces");
        }

        ulong start = 0;
        for (uint index = 0; index < count; index++)
        {
            HostedFile file = files[body.ReadUInt32()];
            if (body.ReadUInt32() != 0)
            {
                throw new ProtocolException("a piece with flags");
            }

            ulong offset = body.ReadUInt64();
            ulong length = body.ReadUInt64();
            if (length == 0 || offset > file.Size || length > file.Size - offset || length > _size - start)
            {
                throw new ProtocolException($"a piece of {length} bytes at {offset} of a file of {file.Size}");
            }

            _pieces.Add(new MemoryPiece(start, length, file, offset));
            start += length;
        }

        if (start != _size)
        {
            throw new ProtocolException($"a buffer of {_size} bytes with pieces of {start}");
        }
    }

    public override bool TryRead(ulong offset, Span<byte> destination)
    {
        if (!IsWithin(offset, destination.Length))
        {
            return false;
        }

        for (int index = IndexOf(offset); !destination.IsEmpty; index++)
        {
            MemoryPiece piece = _pieces[index];
            ulong skipped = offset - piece.Start;
            int length = (int)Math.Min(piece.Length - skipped, (ulong)destination.Length);
            Copy((byte*)piece.Address + skipped, ref MemoryMarshal.GetReference(destination), length);
            destination = destination[length..];
            offset += (ulong)length;
        }

        return true;
    }

    public override bool TryWrite(ulong offset, ReadOnlySpan<byte> source)
    {
        if (!IsWithin(offset, source.Length))
        {
            return false;
        }

        for (int index = IndexOf(offset); !source.IsEmpty; index++)
        {
            MemoryPiece piece = _pieces[index];
            ulong skipped = offset - piece.Start;
            int length = (int)Math.Min(piece.Length - skipped, (ulong)source.Length);
            source[..length].CopyTo(new Span<byte>((byte*)piece.Address + skipped, length));
            source = source[length..];
            offset += (ulong)length;
        }

        return true;
    }

    public override bool TryGetHostAddress(ulong offset, out nint hostAddress, out ulong length)
    {
        MemoryPiece piece = PieceAt(offset, out ulong skipped);
        hostAddress = piece.Address + (nint)skipped;
        length = piece.Length - skipped;
        return true;
    }

    public override bool TryGetFile(ulong offset, out SafeHandle file, out long fileOffset, out ulong length)
    {
        MemoryPiece piece = PieceAt(offset, out ulong skipped);
        file = piece.File.File;
        fileOffset = (long)(piece.Offset + skipped);
        length = piece.Length - skipped;
        return true;
    }

    // A naturally aligned word is read at once, as in the VMM.
    private static void Copy(byte* source, ref byte destination, int length)
    {
        switch (length)
        {
            case sizeof(ulong):
                Unsafe.WriteUnaligned(ref destination, Unsafe.ReadUnaligned<ulong>(source));
                break;
            case sizeof(uint):
                Unsafe.WriteUnaligned(ref destination, Unsafe.ReadUnaligned<uint>(source));
                break;
            default:
                new ReadOnlySpan<byte>(source, length)
                    .CopyTo(MemoryMarshal.CreateSpan(ref destination, length));
                break;
        }
    }

    private MemoryPiece PieceAt(ulong offset, out ulong skipped)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(offset, _size);
        MemoryPiece piece = _pieces[IndexOf(offset)];
        skipped = offset - piece.Start;
        return piece;
    }

    // The piece that an offset below the size lies in.
    private int IndexOf(ulong offset)
    {
        int low = 0;
        int high = _pieces.Count - 1;
        while (low < high)
        {
            int middle = (low + high + 1) / 2;
            if (_pieces[middle].Start <= offset)
            {
                low = middle;
            }
            else
            {
                high = middle - 1;
            }
        }

        return low;
    }

    private bool IsWithin(ulong offset, int length) => offset <= _size && (ulong)length <= _size - offset;
}
