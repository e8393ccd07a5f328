using System.Security.Cryptography;
using Org.BouncyCastle.Math.EC.Rfc8032;

namespace OpTeeMediator.SoftwareTee.BouncyCastle;

/// <summary>A key that makes Ed25519 signatures (RFC 8032; TEE_ALG_ED25519).</summary>
/// <remarks>Thread-safe until it is disposed of, which clears the key.</remarks>
public sealed class Ed25519PrivateKey : IDisposable
{
    /// <summary>The size of a private key in bytes.</summary>
    public const int Size = 32;

    /// <summary>The size of a signature in bytes.</summary>
    public const int SignatureSize = 64;

    private readonly byte[] _key = GC.AllocateArray<byte>(Size, pinned: true);
    private readonly byte[] _publicKey = new byte[Ed25519PublicKey.Size];
    private bool _isDisposed;

    /// <summary>Makes a key.</summary>
    /// <param name="key">The private key as in RFC 8032, 32 bytes, which are copied.</param>
    /// <exception cref="ArgumentException">The key has another length.</exception>
    public Ed25519PrivateKey(ReadOnlySpan<byte> key)
    {
        if (key.Length != Size)
        {
            throw new ArgumentException("An Ed25519 key has 32 bytes.", nameof(key));
        }

        key.CopyTo(_key);
        Ed25519.GeneratePublicKey(key, _publicKey);
    }

    /// <summary>The public key, 32 bytes.</summary>
    public ReadOnlyMemory<byte> PublicKey => _publicKey;

    /// <summary>Generates a key from the system's random numbers.</summary>
    public static Ed25519PrivateKey Generate()
    {
        Span<byte> key = stackalloc byte[Size];
        RandomNumberGenerator.Fill(key);
        Ed25519PrivateKey result = new(key);
        CryptographicOperations.ZeroMemory(key);
        return result;
    }

    /// <summary>Copies the private key, for the application's storage.</summary>
    /// <param name="destination">Receives 32 bytes.</param>
    /// <exception cref="ArgumentException"><paramref name="destination"/> is too short.</exception>
    /// <exception cref="ObjectDisposedException">The key is disposed.</exception>
    public void Export(Span<byte> destination)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        _key.CopyTo(destination);
    }

    /// <summary>Signs a message (Ed25519).</summary>
    /// <param name="message">The message.</param>
    /// <param name="signature">Receives 64 bytes.</param>
    /// <exception cref="ArgumentException"><paramref name="signature"/> is too short.</exception>
    /// <exception cref="ObjectDisposedException">The key is disposed.</exception>
    public void Sign(ReadOnlySpan<byte> message, Span<byte> signature)
    {
        Check(signature);
        Ed25519.Sign(_key, _publicKey.AsSpan(), message, signature[..SignatureSize]);
    }

    /// <summary>Signs a message with a context (Ed25519ctx; TEE_ATTR_EDDSA_CTX).</summary>
    /// <param name="message">The message.</param>
    /// <param name="context">What the signature is for: 1 to 255 bytes.</param>
    /// <param name="signature">Receives 64 bytes.</param>
    /// <exception cref="ArgumentException">
    /// <paramref name="context"/> has another length, or <paramref name="signature"/> is too short.
    /// </exception>
    /// <exception cref="ObjectDisposedException">The key is disposed.</exception>
    public void SignWithContext(ReadOnlySpan<byte> message, ReadOnlySpan<byte> context, Span<byte> signature)
    {
        Check(signature);
        byte[] copy = Ed25519PublicKey.CheckContext(context, mayBeEmpty: false);
        Ed25519.Sign(_key, _publicKey.AsSpan(), copy, message, signature[..SignatureSize]);
    }

    /// <summary>Signs the SHA-512 hash of a message (Ed25519ph; TEE_ATTR_EDDSA_PREHASH).</summary>
    /// <param name="hash">The hash, 64 bytes.</param>
    /// <param name="context">What the signature is for: at most 255 bytes, or none.</param>
    /// <param name="signature">Receives 64 bytes.</param>
    /// <exception cref="ArgumentException">A length is wrong.</exception>
    /// <exception cref="ObjectDisposedException">The key is disposed.</exception>
    public void SignHash(ReadOnlySpan<byte> hash, ReadOnlySpan<byte> context, Span<byte> signature)
    {
        Check(signature);
        Ed25519PublicKey.CheckHash(hash);
        byte[] copy = Ed25519PublicKey.CheckContext(context, mayBeEmpty: true);
        Ed25519.SignPrehash(_key, _publicKey.AsSpan(), copy, hash, signature[..SignatureSize]);
    }

    /// <summary>Clears the key.</summary>
    public void Dispose()
    {
        _isDisposed = true;
        CryptographicOperations.ZeroMemory(_key);
    }

    private void Check(Span<byte> signature)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        if (signature.Length < SignatureSize)
        {
            throw new ArgumentException("A signature has 64 bytes.", nameof(signature));
        }
    }
}
