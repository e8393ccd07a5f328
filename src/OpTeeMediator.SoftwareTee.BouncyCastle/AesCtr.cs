using Org.BouncyCastle.Crypto;
using Org.BouncyCastle.Crypto.Modes;
using Org.BouncyCastle.Crypto.Parameters;

namespace OpTeeMediator.SoftwareTee.BouncyCastle;

/// <summary>AES in counter mode (NIST SP 800-38A; TEE_ALG_AES_CTR).</summary>
/// <remarks>
/// All 128 bits of the initial counter block count, modulo 2^128. The same counter block must never be used twice with
/// one key. An update writes whole blocks of 16 bytes. Encryption and decryption are the same.
/// </remarks>
public sealed class AesCtr : CipherOperation
{
    private readonly PlatformAes _aes;
    private readonly BufferedBlockCipher _cipher;

    /// <summary>Creates an operation with a copy of a key.</summary>
    /// <param name="key">16, 24 or 32 bytes.</param>
    /// <exception cref="ArgumentException">The key has another length.</exception>
    public AesCtr(ReadOnlySpan<byte> key)
    {
        _aes = new PlatformAes(key);
        _cipher = new BufferedBlockCipher(new SicBlockCipher(_aes));
    }

    private protected override int MinimumLength => 0;

    private protected override long MaximumLength => long.MaxValue;

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        base.Dispose(disposing);
        _cipher.Reset();
        _aes.Dispose();
    }

    private protected override void Start(ReadOnlySpan<byte> iv) =>
        _cipher.Init(true, new ParametersWithIV(PlatformAes.Placeholder, iv));

    private protected override int CountWritten(int available) =>
        available / PlatformAes.BlockSize * PlatformAes.BlockSize;

    private protected override int ProcessChunk(ReadOnlySpan<byte> source, Span<byte> destination) =>
        _cipher.ProcessBytes(source, destination);

    private protected override void Finish(Span<byte> destination) => _ = _cipher.DoFinal(destination);
}
