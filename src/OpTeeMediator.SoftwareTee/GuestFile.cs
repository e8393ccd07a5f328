using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;

namespace OpTeeMediator.SoftwareTee;

/// <summary>An open file of the guest's tee-supplicant, from <see cref="GuestFileSystem"/>.</summary>
/// <remarks>
/// Disposing of it closes it; what is left open when the operation ends is closed then. It cannot be used after either. Long transfers are made in
/// pieces, which others may come between. Not thread-safe.
/// </remarks>
public sealed class GuestFile : IDisposable
{
    private readonly GuestFileSystem _files;
    private readonly GuestFileSystem.OpenHandle _handle;
    private readonly int _operation;
    private bool _isClosed;

    internal GuestFile(GuestFileSystem files, GuestFileSystem.OpenHandle handle)
    {
        _files = files;
        _handle = handle;
        _operation = files.Operation;
    }

    private bool IsOpen => !_isClosed && _operation == _files.Operation;

    /// <summary>Reads from the file.</summary>
    /// <param name="offset">Where in the file, in bytes from its start.</param>
    /// <param name="destination">Receives the bytes.</param>
    /// <param name="length">How many there were: fewer than asked for at the end of the file. What was read before a failure counts.</param>
    /// <returns>What the supplicant answered; TEE_ERROR_SECURITY if it claims to have read more than fits.</returns>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="offset"/> is negative.</exception>
    /// <exception cref="ObjectDisposedException">The file was closed.</exception>
    public TeeReturnCode Read(long offset, Span<byte> destination, out int length)
    {
        ThrowUnlessOpen(offset);
        length = 0;
        while (!destination.IsEmpty)
        {
            Span<byte> piece = destination[..Math.Min(destination.Length, GuestFileSystem.PieceSize)];
            TeeReturnCode code = _files.Read(OpTeeRpc.FileRead, _handle, (ulong)offset + (uint)length, piece, out int read);
            if (code != TeeReturnCode.Success)
            {
                return code;
            }

            length += read;
            destination = read < piece.Length ? default : destination[read..];
        }

        return TeeReturnCode.Success;
    }

    /// <summary>Writes to the file, which grows as needed.</summary>
    /// <param name="offset">Where in the file, in bytes from its start.</param>
    /// <param name="source">The bytes to write.</param>
    /// <returns>What the supplicant answered: TEE_ERROR_STORAGE_NO_SPACE, for instance. What was written before a failure stays.</returns>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="offset"/> is negative.</exception>
    /// <exception cref="ObjectDisposedException">The file was closed.</exception>
    public TeeReturnCode Write(long offset, ReadOnlySpan<byte> source)
    {
        ThrowUnlessOpen(offset);
        ulong position = (ulong)offset;
        while (!source.IsEmpty)
        {
            ReadOnlySpan<byte> piece = source[..Math.Min(source.Length, GuestFileSystem.PieceSize)];
            TeeReturnCode code = _files.Write(_handle, position, piece);
            if (code != TeeReturnCode.Success)
            {
                return code;
            }

            position += (uint)piece.Length;
            source = source[piece.Length..];
        }

        return TeeReturnCode.Success;
    }

    /// <summary>Cuts the file off or extends it with zeros.</summary>
    /// <param name="length">The new length in bytes.</param>
    /// <returns>What the supplicant answered.</returns>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="length"/> is negative.</exception>
    /// <exception cref="ObjectDisposedException">The file was closed.</exception>
    public TeeReturnCode SetLength(long length)
    {
        ThrowUnlessOpen(length);
        return _files.Truncate(_handle, (ulong)length);
    }

    /// <summary>Closes the file.</summary>
    public void Dispose()
    {
        if (IsOpen)
        {
            _files.Close(_handle);
        }

        _isClosed = true;
    }

    private void ThrowUnlessOpen(long offset)
    {
        ObjectDisposedException.ThrowIf(!IsOpen, this);
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
    }
}
