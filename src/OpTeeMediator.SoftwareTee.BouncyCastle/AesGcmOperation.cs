using System.Security.Cryptography;
using Org.BouncyCastle.Crypto;
using Org.BouncyCastle.Crypto.Modes;
using Org.BouncyCastle.Crypto.Modes.Gcm;
using Org.BouncyCastle.Crypto.Parameters;

namespace OpTeeMediator.SoftwareTee.BouncyCastle;

/// <summary>AES-GCM in pieces (NIST SP 800-38D; TEE_ALG_AES_GCM).</summary>
/// <remarks>
/// For a message that is there as a whole, .NET's <see cref="AesGcm"/> is simpler and faster. A nonce must never be
/// used twice with one key. A decryption writes data before the tag has been compared: an application keeps it to
/// itself until <see cref="AeadOperation.TryDecryptFinal"/> has returned true.
/// </remarks>
public sealed class AesGcmOperation : AeadOperation
{
    private const int BlockSize = PlatformAes.BlockSize;

    // SP 800-38D: 2^39 - 256 bits.
    private const long MaximumLength = (1L << 36) - 32;

    private readonly PlatformAes _aes;
    private readonly GcmBlockCipher _cipher;
    private readonly bool _encrypts;
    private int _tagSize;
    private long _length;

    /// <summary>Creates an operation with a copy of a key.</summary>
    /// <param name="key">16, 24 or 32 bytes.</param>
    /// <param name="encrypts">Whether it encrypts; otherwise it decrypts.</param>
    /// <exception cref="ArgumentException">The key has another length.</exception>
    public AesGcmOperation(ReadOnlySpan<byte> key, bool encrypts)
        : base(encrypts)
    {
        _aes = new PlatformAes(key);
#pragma warning disable CS0618 // The default uses tables, whose timing depends on the key, where there is no PCLMUL.
        _cipher = new GcmBlockCipher(_aes, new BasicGcmMultiplier());
#pragma warning restore CS0618
        _encrypts = encrypts;
    }

    /// <summary>Starts a message (TEE_AEInit); a message that was not finished is dropped.</summary>
    /// <param name="nonce">At least one byte, 12 by preference.</param>
    /// <param name="tagSize">The size of the tag in bytes, 12 to 16.</param>
    /// <exception cref="ArgumentException">
    /// A parameter is out of range, or an encryption has the nonce of the message before.
    /// </exception>
    /// <exception cref="ObjectDisposedException">The object is disposed.</exception>
    public void Initialize(ReadOnlySpan<byte> nonce, int tagSize)
    {
        ThrowIfDisposed();
        if (nonce.IsEmpty)
        {
            throw new ArgumentException("The nonce is empty.", nameof(nonce));
        }

        ArgumentOutOfRangeException.ThrowIfLessThan(tagSize, 12);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(tagSize, 16);
        _cipher.Init(_encrypts, new AeadParameters(PlatformAes.Placeholder, tagSize * 8, nonce.ToArray()));
        _tagSize = tagSize;
        _length = 0;
        Start(tagSize);
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        base.Dispose(disposing);
        _cipher.Reset();
        _aes.Dispose();
    }

    private protected override void ProcessAssociatedData(ReadOnlySpan<byte> source) =>
        _cipher.ProcessAadBytes(source);

    // The last bytes of what is decrypted could be the tag for BouncyCastle.
    private protected override int CountWritten(int available) =>
        Math.Max(0, (available - (_encrypts ? 0 : _tagSize)) / BlockSize * BlockSize);

    private protected override void CheckLength(int length, bool last)
    {
        if (length > MaximumLength - _length)
        {
            throw new CryptographicException($"A message has at most {MaximumLength} bytes.");
        }
    }

    private protected override int ProcessPayload(ReadOnlySpan<byte> source, Span<byte> destination)
    {
        _length += source.Length;
        return _cipher.ProcessBytes(source, destination);
    }

    private protected override void FinishEncryption(Span<byte> destination, Span<byte> tag)
    {
        Span<byte> last = stackalloc byte[2 * BlockSize];
        int size = _cipher.DoFinal(last);
        last[..(size - _tagSize)].CopyTo(destination);
        last[(size - _tagSize)..size].CopyTo(tag);
    }

    private protected override bool TryFinishDecryption(Span<byte> destination, ReadOnlySpan<byte> tag)
    {
        Span<byte> last = stackalloc byte[4 * BlockSize];
        try
        {
            int size = _cipher.ProcessBytes(tag, last);
            size += _cipher.DoFinal(last[size..]);
            last[..size].CopyTo(destination);
            return true;
        }
        catch (InvalidCipherTextException)
        {
            return false;
        }
        finally
        {
            CryptographicOperations.ZeroMemory(last);
        }
    }
}
