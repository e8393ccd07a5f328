using System.Security.Cryptography;

namespace OpTeeMediator.SoftwareTee.BouncyCastle;

/// <summary>Authenticated encryption whose data comes in pieces (GlobalPlatform's TEE_AEInit to final call).</summary>
/// <remarks>
/// An object has one key and one direction. For each message: Initialize, then the associated data, then the payload,
/// then the final call. Not thread-safe. Disposing of it clears the key.
/// </remarks>
public abstract class AeadOperation : IDisposable
{
    private readonly bool _encrypts;
    private State _state;
    private int _tagSize;
    private int _held;

    private protected AeadOperation(bool encrypts)
    {
        _encrypts = encrypts;
    }

    private enum State
    {
        Idle,
        Associated,
        Payload,
        Disposed,
    }

    /// <summary>Adds a piece of the associated data; all of it comes before the payload.</summary>
    /// <param name="source">The piece, of any length.</param>
    /// <exception cref="InvalidOperationException">
    /// No message was started, its payload has begun, or more comes than was announced.
    /// </exception>
    /// <exception cref="ObjectDisposedException">The object is disposed.</exception>
    public void UpdateAssociatedData(ReadOnlySpan<byte> source)
    {
        CheckStarted();
        if (_state != State.Associated)
        {
            throw new InvalidOperationException("The payload has begun: associated data comes before it.");
        }

        ProcessAssociatedData(source);
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

    /// <summary>Processes a piece of the payload.</summary>
    /// <param name="source">The piece, of any length; it may overlap with the destination.</param>
    /// <param name="destination">At least <see cref="GetUpdateSize"/> bytes.</param>
    /// <returns>The number of bytes written; of a decryption, they are not authentic until the final call.</returns>
    /// <exception cref="ArgumentException">
    /// <paramref name="destination"/> is too short; nothing was processed, and the call may be repeated.
    /// </exception>
    /// <exception cref="InvalidOperationException">
    /// No message was started, or more comes than was announced.
    /// </exception>
    /// <exception cref="CryptographicException">The payload is longer than the mode permits.</exception>
    /// <exception cref="ObjectDisposedException">The object is disposed.</exception>
    public int Update(ReadOnlySpan<byte> source, Span<byte> destination)
    {
        CheckStarted();
        CheckDestination(destination, GetUpdateSize(source.Length));
        using SourceCopy copy = new(source, destination);
        return Process(copy.Span, destination);
    }

    /// <summary>Encrypts the last piece, and gives the tag (TEE_AEEncryptFinal).</summary>
    /// <param name="source">The piece, perhaps empty; it may overlap with the destination.</param>
    /// <param name="destination">At least the bytes of this piece and those that are held back.</param>
    /// <param name="tag">Receives the tag: as many bytes as Initialize has named.</param>
    /// <returns>The number of bytes written to the destination.</returns>
    /// <exception cref="ArgumentException">
    /// <paramref name="destination"/> or <paramref name="tag"/> has a wrong length; nothing was processed.
    /// </exception>
    /// <exception cref="InvalidOperationException">
    /// No message was started, the operation decrypts, or more or less came than was announced.
    /// </exception>
    /// <exception cref="CryptographicException">The payload is longer than the mode permits.</exception>
    /// <exception cref="ObjectDisposedException">The object is disposed.</exception>
    public int EncryptFinal(ReadOnlySpan<byte> source, Span<byte> destination, Span<byte> tag)
    {
        CheckFinal(encrypts: true, source, destination, tag);
        using SourceCopy copy = new(source, destination);
        int written = Process(copy.Span, destination);
        int last = _held;
        FinishEncryption(destination.Slice(written, last), tag);
        _held = 0;
        _state = State.Idle;
        return written + last;
    }

    /// <summary>Decrypts the last piece, and compares the tag in constant time (TEE_AEDecryptFinal).</summary>
    /// <param name="source">The piece, perhaps empty; it may overlap with the destination.</param>
    /// <param name="destination">At least the bytes of this piece and those that are held back.</param>
    /// <param name="tag">The expected tag: as many bytes as Initialize has named.</param>
    /// <param name="written">The number of bytes written to the destination; 0 if the result is false.</param>
    /// <returns>
    /// Whether the message is authentic. If not, the destination is cleared, what earlier updates have written must not
    /// be used, and an application answers TEE_ERROR_MAC_INVALID.
    /// </returns>
    /// <exception cref="ArgumentException">
    /// <paramref name="destination"/> or <paramref name="tag"/> has a wrong length; nothing was processed.
    /// </exception>
    /// <exception cref="InvalidOperationException">
    /// No message was started, the operation encrypts, or more or less came than was announced.
    /// </exception>
    /// <exception cref="CryptographicException">The payload is longer than the mode permits.</exception>
    /// <exception cref="ObjectDisposedException">The object is disposed.</exception>
    public bool TryDecryptFinal(
        ReadOnlySpan<byte> source, Span<byte> destination, ReadOnlySpan<byte> tag, out int written)
    {
        CheckFinal(encrypts: false, source, destination, tag);
        using SourceCopy copy = new(source, destination);
        written = Process(copy.Span, destination);
        int last = _held;
        bool authentic = TryFinishDecryption(destination.Slice(written, last), tag);
        _held = 0;
        _state = State.Idle;
        if (!authentic)
        {
            CryptographicOperations.ZeroMemory(destination[..(written + last)]);
            written = 0;
            return false;
        }

        written += last;
        return true;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(disposing: true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Clears key and data.</summary>
    /// <param name="disposing">True, as there is no finalizer.</param>
    protected virtual void Dispose(bool disposing) => _state = State.Disposed;

    /// <summary>Starts a message once the derived class has accepted its parameters.</summary>
    private protected void Start(int tagSize)
    {
        _tagSize = tagSize;
        _held = 0;
        _state = State.Associated;
    }

    private protected void ThrowIfDisposed() => ObjectDisposedException.ThrowIf(_state == State.Disposed, this);

    private protected abstract void ProcessAssociatedData(ReadOnlySpan<byte> source);

    /// <summary>How many bytes are written once this many are there, with those that are held back.</summary>
    private protected abstract int CountWritten(int available);

    /// <summary>Checks whether the announced lengths permit this many bytes more, and an end after them.</summary>
    private protected abstract void CheckLength(int length, bool last);

    private protected abstract int ProcessPayload(ReadOnlySpan<byte> source, Span<byte> destination);

    /// <summary>Writes all that is held back, which fills the destination, and the tag.</summary>
    private protected abstract void FinishEncryption(Span<byte> destination, Span<byte> tag);

    /// <summary>Writes all that is held back, which fills the destination, and compares the tag.</summary>
    private protected abstract bool TryFinishDecryption(Span<byte> destination, ReadOnlySpan<byte> tag);

    private static void CheckDestination(Span<byte> destination, int size)
    {
        if (destination.Length < size)
        {
            throw new ArgumentException($"The destination needs {size} bytes.", nameof(destination));
        }
    }

    private int Process(ReadOnlySpan<byte> source, Span<byte> destination)
    {
        CheckLength(source.Length, last: false);
        _state = State.Payload;
        int written = ProcessPayload(source, destination);
        _held += source.Length - written;
        return written;
    }

    private void CheckStarted()
    {
        ThrowIfDisposed();
        if (_state == State.Idle)
        {
            throw new InvalidOperationException("No message was started: call Initialize first.");
        }
    }

    private void CheckFinal(bool encrypts, ReadOnlySpan<byte> source, Span<byte> destination, ReadOnlySpan<byte> tag)
    {
        CheckStarted();
        if (encrypts != _encrypts)
        {
            throw new InvalidOperationException(_encrypts ? "This operation encrypts." : "This operation decrypts.");
        }

        if (tag.Length != _tagSize)
        {
            throw new ArgumentException($"The tag of this message has {_tagSize} bytes.", nameof(tag));
        }

        ArgumentOutOfRangeException.ThrowIfGreaterThan(source.Length, Array.MaxLength - _held);
        CheckDestination(destination, _held + source.Length);
        CheckLength(source.Length, last: true);
    }
}
