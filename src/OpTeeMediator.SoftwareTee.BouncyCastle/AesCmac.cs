using System.Security.Cryptography;
using Org.BouncyCastle.Crypto.Macs;

namespace OpTeeMediator.SoftwareTee.BouncyCastle;

/// <summary>The message authentication code AES-CMAC (NIST SP 800-38B, RFC 4493; TEE_ALG_AES_CMAC).</summary>
/// <remarks>Each final call ends a message, and the next update starts another one. Not thread-safe.</remarks>
public sealed class AesCmac : IDisposable
{
    /// <summary>The size of a code in bytes.</summary>
    public const int MacSize = 16;

    private readonly PlatformAes _aes;
    private readonly CMac _mac;
    private bool _isDisposed;

    /// <summary>Creates an operation with a copy of a key.</summary>
    /// <param name="key">16, 24 or 32 bytes.</param>
    /// <exception cref="ArgumentException">The key has another length.</exception>
    public AesCmac(ReadOnlySpan<byte> key)
    {
        _aes = new PlatformAes(key);
        _mac = new CMac(_aes);
        _mac.Init(PlatformAes.Placeholder);
    }

    /// <summary>Adds a piece of the message.</summary>
    /// <param name="source">The piece, of any length.</param>
    /// <exception cref="ObjectDisposedException">The object is disposed.</exception>
    public void Update(ReadOnlySpan<byte> source)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        _mac.BlockUpdate(source);
    }

    /// <summary>Ends the message and gives its code (TEE_MACComputeFinal).</summary>
    /// <param name="mac">Receives the code: 16 bytes at least.</param>
    /// <exception cref="ArgumentException"><paramref name="mac"/> is too short; the message goes on.</exception>
    /// <exception cref="ObjectDisposedException">The object is disposed.</exception>
    public void Final(Span<byte> mac)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        if (mac.Length < MacSize)
        {
            throw new ArgumentException("The code has 16 bytes.", nameof(mac));
        }

        _ = _mac.DoFinal(mac);
    }

    /// <summary>Ends the message and compares its code, in constant time (TEE_MACCompareFinal).</summary>
    /// <param name="mac">The expected code, 16 bytes.</param>
    /// <returns>Whether it is the message's code. If not, an application answers TEE_ERROR_MAC_INVALID.</returns>
    /// <exception cref="ObjectDisposedException">The object is disposed.</exception>
    public bool VerifyFinal(ReadOnlySpan<byte> mac)
    {
        Span<byte> computed = stackalloc byte[MacSize];
        Final(computed);
        bool same = CryptographicOperations.FixedTimeEquals(computed, mac);
        CryptographicOperations.ZeroMemory(computed);
        return same;
    }

    /// <summary>Clears the key.</summary>
    public void Dispose()
    {
        _isDisposed = true;
        _mac.Reset();
        _aes.Dispose();
    }
}
