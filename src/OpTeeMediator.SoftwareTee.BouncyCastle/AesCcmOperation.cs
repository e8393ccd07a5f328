using System.Security.Cryptography;

namespace OpTeeMediator.SoftwareTee.BouncyCastle;

/// <summary>AES-CCM in pieces (NIST SP 800-38C, RFC 3610; TEE_ALG_AES_CCM).</summary>
/// <remarks>
/// CCM starts with the lengths, and a decryption must not show data before the tag has been compared: this class
/// gathers the pieces, and .NET's <see cref="AesCcm"/> processes them at the end. An update thus writes nothing, and
/// the announced lengths are allocated at the start: an application limits them. A nonce must never be used twice with
/// one key.
/// </remarks>
public sealed class AesCcmOperation : AeadOperation
{
    private readonly AesCcm _cipher;
    private byte[] _nonce = [];
    private byte[] _associated = [];
    private byte[] _payload = [];
    private int _associatedLength;
    private int _payloadLength;

    /// <summary>Creates an operation with a copy of a key.</summary>
    /// <param name="key">16, 24 or 32 bytes.</param>
    /// <param name="encrypts">Whether it encrypts; otherwise it decrypts.</param>
    /// <exception cref="ArgumentException">The key has another length.</exception>
    /// <exception cref="PlatformNotSupportedException">The platform's library lacks AES-CCM.</exception>
    public AesCcmOperation(ReadOnlySpan<byte> key, bool encrypts)
        : base(encrypts)
    {
        if (key.Length is not (16 or 24 or 32))
        {
            throw new ArgumentException("An AES key has 16, 24 or 32 bytes.", nameof(key));
        }

        _cipher = new AesCcm(key);
    }

    /// <summary>Starts a message (TEE_AEInit); a message that was not finished is dropped.</summary>
    /// <param name="nonce">7 to 13 bytes.</param>
    /// <param name="tagSize">The size of the tag in bytes: an even number from 4 to 16.</param>
    /// <param name="associatedDataLength">The length of the associated data in bytes, not negative.</param>
    /// <param name="payloadLength">
    /// The length of the payload in bytes, not negative, and less than 256 to the power of 15 minus the length of the
    /// nonce.
    /// </param>
    /// <exception cref="ArgumentException">A parameter is out of range.</exception>
    /// <exception cref="OutOfMemoryException">There is no memory for these lengths.</exception>
    /// <exception cref="ObjectDisposedException">The object is disposed.</exception>
    public void Initialize(ReadOnlySpan<byte> nonce, int tagSize, int associatedDataLength, int payloadLength)
    {
        ThrowIfDisposed();
        if (nonce.Length is < 7 or > 13)
        {
            throw new ArgumentException("The nonce has 7 to 13 bytes.", nameof(nonce));
        }

        if (tagSize is < 4 or > 16 || tagSize % 2 != 0)
        {
            throw new ArgumentOutOfRangeException(
                nameof(tagSize), tagSize, "The tag has 4, 6, 8, 10, 12, 14 or 16 bytes.");
        }

        ArgumentOutOfRangeException.ThrowIfNegative(associatedDataLength);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(associatedDataLength, Array.MaxLength);
        ArgumentOutOfRangeException.ThrowIfNegative(payloadLength);
        int lengthBytes = Math.Min(15 - nonce.Length, 4);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(
            payloadLength, Math.Min((1L << (8 * lengthBytes)) - 1, Array.MaxLength));
        Clear();
        _nonce = nonce.ToArray();
        _associated = GC.AllocateUninitializedArray<byte>(associatedDataLength);
        _payload = GC.AllocateUninitializedArray<byte>(payloadLength, pinned: true);
        Start(tagSize);
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        base.Dispose(disposing);
        Clear();
        _cipher.Dispose();
    }

    private protected override void ProcessAssociatedData(ReadOnlySpan<byte> source)
    {
        if (source.Length > _associated.Length - _associatedLength)
        {
            throw new InvalidOperationException($"{_associated.Length} bytes of associated data were announced.");
        }

        source.CopyTo(_associated.AsSpan(_associatedLength));
        _associatedLength += source.Length;
    }

    private protected override int CountWritten(int available) => 0;

    private protected override void CheckLength(int length, bool last)
    {
        int missing = _payload.Length - _payloadLength;
        if (length > missing || (last && (length < missing || _associatedLength < _associated.Length)))
        {
            throw new InvalidOperationException(
                $"Announced were {_associated.Length} bytes of associated data and {_payload.Length} of payload.");
        }
    }

    private protected override int ProcessPayload(ReadOnlySpan<byte> source, Span<byte> destination)
    {
        source.CopyTo(_payload.AsSpan(_payloadLength));
        _payloadLength += source.Length;
        return 0;
    }

    private protected override void FinishEncryption(Span<byte> destination, Span<byte> tag)
    {
        _cipher.Encrypt(_nonce, _payload, destination, tag, _associated);
        Clear();
    }

    private protected override bool TryFinishDecryption(Span<byte> destination, ReadOnlySpan<byte> tag)
    {
        try
        {
            _cipher.Decrypt(_nonce, _payload, tag, destination, _associated);
            return true;
        }
        catch (AuthenticationTagMismatchException)
        {
            return false;
        }
        finally
        {
            Clear();
        }
    }

    private void Clear()
    {
        CryptographicOperations.ZeroMemory(_payload);
        CryptographicOperations.ZeroMemory(_associated);
        _payload = [];
        _associated = [];
        _payloadLength = 0;
        _associatedLength = 0;
    }
}
