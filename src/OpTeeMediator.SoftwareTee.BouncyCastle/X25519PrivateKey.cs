using System.Security.Cryptography;
using Org.BouncyCastle.Math.EC.Rfc7748;

namespace OpTeeMediator.SoftwareTee.BouncyCastle;

/// <summary>A key for the key agreement X25519 (RFC 7748; TEE_ALG_X25519).</summary>
/// <remarks>Thread-safe until it is disposed of, which clears the key.</remarks>
public sealed class X25519PrivateKey : IDisposable
{
    /// <summary>The size of a private key, a public key and a secret in bytes.</summary>
    public const int Size = 32;

    private readonly byte[] _key = GC.AllocateArray<byte>(Size, pinned: true);
    private readonly byte[] _publicKey = new byte[Size];
    private bool _isDisposed;

    /// <summary>Makes a key.</summary>
    /// <param name="key">The private key as in RFC 7748, 32 bytes, which are copied.</param>
    /// <exception cref="ArgumentException">The key has another length.</exception>
    public X25519PrivateKey(ReadOnlySpan<byte> key)
    {
        if (key.Length != Size)
        {
            throw new ArgumentException("An X25519 key has 32 bytes.", nameof(key));
        }

        key.CopyTo(_key);
        X25519.GeneratePublicKey(key, _publicKey);
    }

    /// <summary>The public key, 32 bytes.</summary>
    public ReadOnlyMemory<byte> PublicKey => _publicKey;

    /// <summary>Generates a key from the system's random numbers.</summary>
    public static X25519PrivateKey Generate()
    {
        Span<byte> key = stackalloc byte[Size];
        RandomNumberGenerator.Fill(key);
        X25519PrivateKey result = new(key);
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

    /// <summary>Derives the secret that is shared with the owner of another key.</summary>
    /// <param name="publicKey">The other's public key, 32 bytes.</param>
    /// <param name="secret">Receives 32 bytes, which a key derivation function (HKDF) makes keys of.</param>
    /// <returns>False if the secret would be zero, because the other's key is a point of small order.</returns>
    /// <exception cref="ArgumentException">A length is wrong.</exception>
    /// <exception cref="ObjectDisposedException">The key is disposed.</exception>
    public bool TryDeriveSecret(ReadOnlySpan<byte> publicKey, Span<byte> secret)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        if (publicKey.Length != Size)
        {
            throw new ArgumentException("An X25519 key has 32 bytes.", nameof(publicKey));
        }

        if (secret.Length < Size)
        {
            throw new ArgumentException("The secret has 32 bytes.", nameof(secret));
        }

        return X25519.CalculateAgreement(_key, publicKey, secret[..Size]);
    }

    /// <summary>Clears the key.</summary>
    public void Dispose()
    {
        _isDisposed = true;
        CryptographicOperations.ZeroMemory(_key);
    }
}
