using Org.BouncyCastle.Crypto.Modes;
using Org.BouncyCastle.Crypto.Parameters;

namespace OpTeeMediator.SoftwareTee.BouncyCastle;

/// <summary>AES-CBC with ciphertext stealing (CBC-CS3 of NIST SP 800-38A's addendum; TEE_ALG_AES_CTS).</summary>
/// <remarks>
/// The last two blocks are always exchanged, as in RFC 3962. A message has at least 17 bytes: one of 16 bytes has no
/// block to steal from, and is for .NET's plain CBC. An update holds back up to 32 bytes.
/// </remarks>
public sealed class AesCts : CipherOperation
{
    private readonly PlatformAes _aes;
    private readonly CtsBlockCipher _cipher;
    private readonly bool _encrypts;

    /// <summary>Creates an operation with a copy of a key.</summary>
    /// <param name="key">16, 24 or 32 bytes.</param>
    /// <param name="encrypts">Whether it encrypts; otherwise it decrypts.</param>
    /// <exception cref="ArgumentException">The key has another length.</exception>
    public AesCts(ReadOnlySpan<byte> key, bool encrypts)
    {
        _aes = new PlatformAes(key);
        _cipher = new CtsBlockCipher(new CbcBlockCipher(_aes));
        _encrypts = encrypts;
    }

    private protected override int MinimumLength => PlatformAes.BlockSize + 1;

    private protected override long MaximumLength => long.MaxValue;

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        base.Dispose(disposing);
        _cipher.Reset();
        _aes.Dispose();
    }

    private protected override void Start(ReadOnlySpan<byte> iv) =>
        _cipher.Init(_encrypts, new ParametersWithIV(PlatformAes.Placeholder, iv));

    private protected override int CountWritten(int available) =>
        Math.Max(0, (available - PlatformAes.BlockSize - 1) / PlatformAes.BlockSize * PlatformAes.BlockSize);

    private protected override int ProcessChunk(ReadOnlySpan<byte> source, Span<byte> destination) =>
        _cipher.ProcessBytes(source, destination);

    private protected override void Finish(Span<byte> destination) => _ = _cipher.DoFinal(destination);
}
