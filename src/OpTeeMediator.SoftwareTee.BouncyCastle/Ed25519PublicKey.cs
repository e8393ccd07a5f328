using Org.BouncyCastle.Math.EC.Rfc8032;

namespace OpTeeMediator.SoftwareTee.BouncyCastle;

/// <summary>A key that checks Ed25519 signatures (RFC 8032; TEE_ALG_ED25519).</summary>
/// <remarks>Immutable, hence thread-safe.</remarks>
public sealed class Ed25519PublicKey
{
    /// <summary>The size of a public key in bytes.</summary>
    public const int Size = 32;

    private const int MaximumContextLength = 255;

    private readonly byte[] _key;

    /// <summary>Makes a key.</summary>
    /// <param name="key">The public key as in RFC 8032, 32 bytes. If it is no point, no signature is valid.</param>
    /// <exception cref="ArgumentException">The key has another length.</exception>
    public Ed25519PublicKey(ReadOnlySpan<byte> key)
    {
        if (key.Length != Size)
        {
            throw new ArgumentException("An Ed25519 key has 32 bytes.", nameof(key));
        }

        _key = key.ToArray();
    }

    /// <summary>Checks a signature of a message (Ed25519).</summary>
    /// <param name="message">The message.</param>
    /// <param name="signature">The signature.</param>
    /// <returns>Whether it is valid. If not, an application answers TEE_ERROR_SIGNATURE_INVALID.</returns>
    public bool Verify(ReadOnlySpan<byte> message, ReadOnlySpan<byte> signature) =>
        signature.Length == Ed25519PrivateKey.SignatureSize && Ed25519.Verify(signature, _key, message);

    /// <summary>Checks a signature of a message with a context (Ed25519ctx).</summary>
    /// <param name="message">The message.</param>
    /// <param name="context">What the signature is for: 1 to 255 bytes.</param>
    /// <param name="signature">The signature.</param>
    /// <returns>Whether it is valid.</returns>
    /// <exception cref="ArgumentException"><paramref name="context"/> has another length.</exception>
    public bool VerifyWithContext(
        ReadOnlySpan<byte> message, ReadOnlySpan<byte> context, ReadOnlySpan<byte> signature)
    {
        byte[] copy = CheckContext(context, mayBeEmpty: false);
        return signature.Length == Ed25519PrivateKey.SignatureSize && Ed25519.Verify(signature, _key, copy, message);
    }

    /// <summary>Checks a signature of the SHA-512 hash of a message (Ed25519ph).</summary>
    /// <param name="hash">The hash, 64 bytes.</param>
    /// <param name="context">What the signature is for: at most 255 bytes, or none.</param>
    /// <param name="signature">The signature.</param>
    /// <returns>Whether it is valid.</returns>
    /// <exception cref="ArgumentException">Hash or context has a wrong length.</exception>
    public bool VerifyHash(ReadOnlySpan<byte> hash, ReadOnlySpan<byte> context, ReadOnlySpan<byte> signature)
    {
        CheckHash(hash);
        byte[] copy = CheckContext(context, mayBeEmpty: true);
        return signature.Length == Ed25519PrivateKey.SignatureSize
            && Ed25519.VerifyPrehash(signature, _key, copy, hash);
    }

    internal static byte[] CheckContext(ReadOnlySpan<byte> context, bool mayBeEmpty)
    {
        if (context.Length > MaximumContextLength || (context.IsEmpty && !mayBeEmpty))
        {
            throw new ArgumentException("A context has 1 to 255 bytes.", nameof(context));
        }

        return context.ToArray();
    }

    internal static void CheckHash(ReadOnlySpan<byte> hash)
    {
        if (hash.Length != Ed25519.PrehashSize)
        {
            throw new ArgumentException("The hash is that of SHA-512, 64 bytes.", nameof(hash));
        }
    }
}
