using System.Security.Cryptography;
using Org.BouncyCastle.Crypto;
using Org.BouncyCastle.Crypto.Engines;
using Org.BouncyCastle.Crypto.Parameters;
using BigInteger = Org.BouncyCastle.Math.BigInteger;

namespace OpTeeMediator.SoftwareTee.BouncyCastle;

/// <summary>RSA without padding (TEE_ALG_RSA_NOPAD).</summary>
/// <remarks>
/// Raw RSA by itself protects nothing: it serves protocols that pad in another way. BouncyCastle refuses the numbers
/// that RSA does not change (0, 1 and the modulus minus 1). Private operations are blinded.
/// BouncyCastle keeps numbers in immutable objects: unlike the other classes, this one cannot clear its key, and
/// <see cref="Dispose"/> only drops it. Not thread-safe.
/// </remarks>
public sealed class RsaNoPadding : IDisposable
{
    /// <summary>The largest modulus in bits, which is GlobalPlatform's.</summary>
    public const int MaximumKeySize = 4096;

    private const string OutOfRange = "The number is not between 2 and the modulus minus 2.";

    private RsaKeyParameters? _publicKey;
    private RsaPrivateCrtKeyParameters? _privateKey;

    /// <summary>Creates an operation with a key.</summary>
    /// <param name="key">
    /// Modulus and public exponent; for private operations all other members too, as <see cref="RSA"/> exports them.
    /// </param>
    /// <exception cref="CryptographicException">The key is incomplete, too large, or no RSA key.</exception>
    public RsaNoPadding(RSAParameters key)
    {
        if (key.Modulus is null || key.Exponent is null)
        {
            throw new CryptographicException("Modulus or public exponent of the key is missing.");
        }

        BigInteger modulus = Number(key.Modulus);
        if (modulus.BitLength > MaximumKeySize)
        {
            throw new CryptographicException($"The modulus has {modulus.BitLength} of at most {MaximumKeySize} bits.");
        }

        BigInteger exponent = Number(key.Exponent);
        try
        {
            _publicKey = new RsaKeyParameters(false, modulus, exponent);
            if (key.D is not null)
            {
                _privateKey = new RsaPrivateCrtKeyParameters(
                    modulus,
                    exponent,
                    Number(key.D),
                    Number(key.P),
                    Number(key.Q),
                    Number(key.DP),
                    Number(key.DQ),
                    Number(key.InverseQ));
            }
        }
        catch (ArgumentException exception)
        {
            throw new CryptographicException("This is no RSA key: " + exception.Message, exception);
        }

        Size = (modulus.BitLength + 7) / 8;
    }

    /// <summary>The length of the modulus in bytes: that of each result.</summary>
    public int Size { get; }

    /// <summary>Raises a number to the public exponent (encryption, or the check of a signature).</summary>
    /// <param name="source">
    /// The number, highest byte first: at most <see cref="Size"/> bytes, from 2 to the modulus minus 2.
    /// </param>
    /// <param name="destination">Receives <see cref="Size"/> bytes, highest byte first; may overlap.</param>
    /// <exception cref="ArgumentException"><paramref name="destination"/> is too short.</exception>
    /// <exception cref="CryptographicException">The number is out of range.</exception>
    /// <exception cref="ObjectDisposedException">The object is disposed.</exception>
    public void ProcessPublic(ReadOnlySpan<byte> source, Span<byte> destination)
    {
        ObjectDisposedException.ThrowIf(_publicKey is null, this);
        Process(_publicKey, source, destination);
    }

    /// <summary>Raises a number to the private exponent (decryption, or a signature).</summary>
    /// <param name="source">
    /// The number, highest byte first: at most <see cref="Size"/> bytes, from 2 to the modulus minus 2.
    /// </param>
    /// <param name="destination">Receives <see cref="Size"/> bytes, highest byte first; may overlap.</param>
    /// <exception cref="ArgumentException"><paramref name="destination"/> is too short.</exception>
    /// <exception cref="CryptographicException">
    /// The number is out of range, or the members of the private key do not belong together.
    /// </exception>
    /// <exception cref="InvalidOperationException">The key is a public one.</exception>
    /// <exception cref="ObjectDisposedException">The object is disposed.</exception>
    public void ProcessPrivate(ReadOnlySpan<byte> source, Span<byte> destination)
    {
        ObjectDisposedException.ThrowIf(_publicKey is null, this);
        Process(
            _privateKey ?? throw new InvalidOperationException("The key has no private part."), source, destination);
    }

    /// <summary>Drops the key.</summary>
    public void Dispose()
    {
        _publicKey = null;
        _privateKey = null;
    }

    private static BigInteger Number(byte[]? bytes) =>
        new(1, bytes ?? throw new CryptographicException("A member of the private key is missing."), bigEndian: true);

    private void Process(RsaKeyParameters key, ReadOnlySpan<byte> source, Span<byte> destination)
    {
        if (destination.Length < Size)
        {
            throw new ArgumentException($"The destination needs {Size} bytes.", nameof(destination));
        }

        if (source.Length > Size)
        {
            throw new CryptographicException(OutOfRange);
        }

        byte[] input = source.ToArray();
        byte[]? output = null;
        try
        {
            RsaBlindedEngine engine = new();
            engine.Init(forEncryption: !key.IsPrivate, key);
            output = engine.ProcessBlock(input, 0, input.Length);
            destination[..Size].Clear();
            output.CopyTo(destination[(Size - output.Length)..]);
        }
        catch (DataLengthException exception)
        {
            throw new CryptographicException(OutOfRange, exception);
        }
        catch (Exception exception) when (exception is InvalidOperationException or ArithmeticException)
        {
            throw new CryptographicException("The members of the private key do not belong together.", exception);
        }
        finally
        {
            CryptographicOperations.ZeroMemory(input);
            CryptographicOperations.ZeroMemory(output);
        }
    }
}
