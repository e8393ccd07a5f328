using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;
using OpTeeMediator.SoftwareTee.Operations;

namespace OpTeeMediator.SoftwareTee.Applications;

/// <summary>An open file of the guest's tee-supplicant, from <see cref="GuestFileSystem"/>.</summary>
/// <remarks>
/// Disposing of it closes it; what is left open when the operation ends is closed then. It cannot be used after either.
/// Long transfers are made in pieces, between which other operations may use the file. Not thread-safe.
/// </remarks>
public sealed class GuestFile : IDisposable, IAsyncDisposable
{
    private readonly GuestFileSystem _files;
    private readonly GuestFileSystem.OpenHandle _handle;
    private readonly int _number;
    private bool _isClosed;

    internal GuestFile(GuestFileSystem files, GuestFileSystem.OpenHandle handle)
    {
        _files = files;
        _handle = handle;
        _number = files.Operation.Number;
    }

    private bool IsOpen => !_isClosed && _number == _files.Operation.Number;

    /// <summary>Reads from the file.</summary>
    /// <param name="offset">Where in the file, in bytes from its start.</param>
    /// <param name="destination">Receives the bytes.</param>
    /// <param name="length">How many there were, also before a failure; fewer at the end of the file.</param>
    /// <returns>The supplicant's answer; TEE_ERROR_SECURITY if it claims to have read more than fits.</returns>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="offset"/> is negative.</exception>
    /// <exception cref="ObjectDisposedException">The file was closed.</exception>
    public TeeReturnCode Read(long offset, Span<byte> destination, out int length)
    {
        ThrowUnlessOpen(offset);
        length = 0;
        while (!destination.IsEmpty)
        {
            Span<byte> piece = destination[..Math.Min(destination.Length, GuestFileSystem.PieceSize)];
            TeeReturnCode code =
                _files.Read(OpTeeRpc.FileRead, _handle, (ulong)offset + (uint)length, piece, out int read);
            if (code != TeeReturnCode.Success)
            {
                return code;
            }

            length += read;
            destination = read < piece.Length ? default : destination[read..];
        }

        return TeeReturnCode.Success;
    }

    /// <summary>Reads from the file, as <see cref="Read"/>.</summary>
    /// <param name="offset">Where in the file, in bytes from its start.</param>
    /// <param name="destination">Receives the bytes.</param>
    /// <returns>The supplicant's answer, and how many bytes there were.</returns>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="offset"/> is negative.</exception>
    /// <exception cref="ObjectDisposedException">The file was closed.</exception>
    public ValueTask<GuestAnswer<int>> ReadAsync(long offset, Memory<byte> destination) => _files.Operation.RunAsync(
        (File: this, Offset: offset, Destination: destination),
        static state =>
            new GuestAnswer<int>(state.File.Read(state.Offset, state.Destination.Span, out int length), length));

    /// <summary>Reads the whole file into a new array, of a limited size.</summary>
    /// <param name="maximum">The most that is read, in bytes: the guest decides the size, and not the host's.</param>
    /// <param name="content">The content; empty on failure.</param>
    /// <returns>
    /// The supplicant's answer; TEE_ERROR_EXCESS_DATA if the file is longer; TEE_ERROR_SECURITY if the supplicant
    /// claims to have read more than fits.
    /// </returns>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="maximum"/> is negative.</exception>
    /// <exception cref="ObjectDisposedException">The file was closed.</exception>
    public TeeReturnCode ReadAll(int maximum, out byte[] content)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(maximum);
        maximum = Math.Min(maximum, Array.MaxLength - 1);
        content = [];
        byte[] buffer = [];
        int length = 0;
        while (true)
        {
            // Grows with what there is. One byte more than the maximum tells whether the file is longer.
            long larger = Math.Min((long)maximum + 1, Math.Max(2L * length, GuestFileSystem.PieceSize));
            Array.Resize(ref buffer, (int)larger);
            TeeReturnCode code = Read(length, buffer.AsSpan(length), out int read);
            length += read;
            if (code != TeeReturnCode.Success)
            {
                return code;
            }

            if (length > maximum)
            {
                return TeeReturnCode.ExcessData;
            }

            if (length < buffer.Length)
            {
                content = buffer[..length];
                return TeeReturnCode.Success;
            }
        }
    }

    /// <inheritdoc cref="ReadAll"/>
    public ValueTask<GuestAnswer<byte[]>> ReadAllAsync(int maximum) => _files.Operation.RunAsync(
        (File: this, Maximum: maximum),
        static state => new GuestAnswer<byte[]>(state.File.ReadAll(state.Maximum, out byte[] content), content));

    /// <summary>Writes to the file, which grows as needed.</summary>
    /// <param name="offset">Where in the file, in bytes from its start.</param>
    /// <param name="source">The bytes to write.</param>
    /// <returns>The supplicant's answer. What was written before a failure stays.</returns>
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

    /// <inheritdoc cref="Write"/>
    public ValueTask<TeeReturnCode> WriteAsync(long offset, ReadOnlyMemory<byte> source) => _files.Operation.RunAsync(
        (File: this, Offset: offset, Source: source),
        static state => state.File.Write(state.Offset, state.Source.Span));

    /// <summary>Cuts the file off or extends it with zeros.</summary>
    /// <param name="length">The new length in bytes.</param>
    /// <returns>The supplicant's answer.</returns>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="length"/> is negative.</exception>
    /// <exception cref="ObjectDisposedException">The file was closed.</exception>
    public TeeReturnCode SetLength(long length)
    {
        ThrowUnlessOpen(length);
        return _files.Truncate(_handle, (ulong)length);
    }

    /// <inheritdoc cref="SetLength"/>
    public ValueTask<TeeReturnCode> SetLengthAsync(long length) =>
        _files.Operation.RunAsync((File: this, Length: length), static state => state.File.SetLength(state.Length));

    /// <summary>Closes the file.</summary>
    public void Dispose()
    {
        if (IsOpen)
        {
            _files.Close(_handle);
        }

        _isClosed = true;
    }

    /// <inheritdoc cref="Dispose"/>
    public ValueTask DisposeAsync() => _files.Operation.DisposeAsync(this);

    private void ThrowUnlessOpen(long offset)
    {
        ObjectDisposedException.ThrowIf(!IsOpen, this);
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
    }
}
