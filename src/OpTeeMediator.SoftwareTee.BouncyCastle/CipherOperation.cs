using System.Security.Cryptography;

namespace OpTeeMediator.SoftwareTee.BouncyCastle;

/// <summary>An AES cipher whose data comes in pieces (GlobalPlatform's TEE_CipherInit, Update and DoFinal).</summary>
/// <remarks>
/// An object has one key and one direction; <see cref="Initialize"/> starts each message. An update holds back what the
/// mode needs to see the end of. Not thread-safe. Disposing of it clears the key.
/// </remarks>
public abstract class CipherOperation : IDisposable
{
    private const int ChunkSize = PlatformAes.MaximumTransform;

    // What BouncyCastle asks for beyond what it writes.
    private const int ChunkMargin = 4 * PlatformAes.BlockSize;

    private bool _isInitialized;
    private bool _isDisposed;
    private int _held;
    private long _length;

    private protected CipherOperation()
    {
    }

    /// <summary>The fewest bytes that a message may have.</summary>
    private protected abstract int MinimumLength { get; }

    /// <summary>The most bytes that a message may have.</summary>
    private protected abstract long MaximumLength { get; }

    /// <summary>Starts a message; a message that was not finished is dropped.</summary>
    /// <param name="iv">16 bytes: initialization vector, first counter block, or the number of the data unit.</param>
    /// <exception cref="ArgumentException"><paramref name="iv"/> has not 16 bytes.</exception>
    /// <exception cref="ObjectDisposedException">The object is disposed.</exception>
    public void Initialize(ReadOnlySpan<byte> iv)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        if (iv.Length != PlatformAes.BlockSize)
        {
            throw new ArgumentException("The initialization vector has 16 bytes.", nameof(iv));
        }

        Start(iv);
        _held = 0;
        _length = 0;
        _isInitialized = true;
    }

    /// <summary>How many bytes the next <see cref="Update"/> writes.</summary>
    /// <param name="sourceLength">The length of its source in bytes, not negative.</param>
    /// <exception cref="ArgumentOutOfRangeException">
    /// <paramref name="sourceLength"/> is negative, or near <see cref="int.MaxValue"/>.
    /// </exception>
    public int GetUpdateSize(int sourceLength)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(sourceLength);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(sourceLength, Array.MaxLength - _held);
        return CountWritten(_held + sourceLength);
    }

    /// <summary>Processes a piece of the message.</summary>
    /// <param name="source">The piece, of any length; it may overlap with the destination.</param>
    /// <param name="destination">At least <see cref="GetUpdateSize"/> bytes.</param>
    /// <returns>The number of bytes written.</returns>
    /// <exception cref="ArgumentException">
    /// <paramref name="destination"/> is too short; nothing was processed, and the call may be repeated.
    /// </exception>
    /// <exception cref="InvalidOperationException">No message was started.</exception>
    /// <exception cref="CryptographicException">The message is longer than the mode permits.</exception>
    /// <exception cref="ObjectDisposedException">The object is disposed.</exception>
    public int Update(ReadOnlySpan<byte> source, Span<byte> destination)
    {
        CheckPiece(source.Length);
        CheckDestination(destination, GetUpdateSize(source.Length));
        using SourceCopy copy = new(source, destination);
        return Process(copy.Span, destination);
    }

    /// <summary>Processes the last piece of the message, and writes all that was held back.</summary>
    /// <param name="source">The piece, perhaps empty; it may overlap with the destination.</param>
    /// <param name="destination">At least the bytes of this piece and those that are held back.</param>
    /// <returns>The number of bytes written; over the message as many as were read.</returns>
    /// <exception cref="ArgumentException">
    /// <paramref name="destination"/> is too short; nothing was processed, and the call may be repeated.
    /// </exception>
    /// <exception cref="InvalidOperationException">No message was started.</exception>
    /// <exception cref="CryptographicException">The message is shorter or longer than the mode permits.</exception>
    /// <exception cref="ObjectDisposedException">The object is disposed.</exception>
    public int Final(ReadOnlySpan<byte> source, Span<byte> destination)
    {
        CheckPiece(source.Length);
        CheckDestination(destination, _held + source.Length);
        if (_length + source.Length < MinimumLength)
        {
            throw new CryptographicException($"A message has at least {MinimumLength} bytes.");
        }

        using SourceCopy copy = new(source, destination);
        int written = Process(copy.Span, destination);
        int last = _held;
        Finish(destination.Slice(written, last));
        _held = 0;
        _isInitialized = false;
        return written + last;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(disposing: true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Clears key and data.</summary>
    /// <param name="disposing">True, as there is no finalizer.</param>
    protected virtual void Dispose(bool disposing)
    {
        _isDisposed = true;
        _isInitialized = false;
    }

    private protected abstract void Start(ReadOnlySpan<byte> iv);

    /// <summary>How many bytes are written once this many are there, with those that are held back.</summary>
    private protected abstract int CountWritten(int available);

    /// <summary>Processes a piece of at most 1 KiB; the destination has room for it, and 64 bytes more.</summary>
    private protected abstract int ProcessChunk(ReadOnlySpan<byte> source, Span<byte> destination);

    /// <summary>Writes all that is held back, which fills the destination.</summary>
    private protected abstract void Finish(Span<byte> destination);

    private static void CheckDestination(Span<byte> destination, int size)
    {
        if (destination.Length < size)
        {
            throw new ArgumentException($"The destination needs {size} bytes.", nameof(destination));
        }
    }

    private int Process(ReadOnlySpan<byte> source, Span<byte> destination)
    {
        Span<byte> chunk = stackalloc byte[ChunkSize + ChunkMargin];
        int written = 0;
        while (!source.IsEmpty)
        {
            ReadOnlySpan<byte> piece = source[..Math.Min(source.Length, ChunkSize)];
            int size = ProcessChunk(piece, chunk);
            chunk[..size].CopyTo(destination[written..]);
            written += size;
            _held += piece.Length - size;
            _length += piece.Length;
            source = source[piece.Length..];
        }

        CryptographicOperations.ZeroMemory(chunk);
        return written;
    }

    private void CheckPiece(int length)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        if (!_isInitialized)
        {
            throw new InvalidOperationException("No message was started: call Initialize first.");
        }

        if (length > MaximumLength - _length)
        {
            throw new CryptographicException($"A message has at most {MaximumLength} bytes.");
        }

        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, Array.MaxLength - _held);
    }
}
