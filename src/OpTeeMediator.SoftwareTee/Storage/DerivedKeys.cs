using System.Buffers.Binary;
using System.Security.Cryptography;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;

namespace OpTeeMediator.SoftwareTee.Storage;

/// <summary>Derives the keys of a VM's applications from the root key.</summary>
/// <remarks>
/// HKDF with SHA-256: the VM's identity is the salt; application, size and label are the context. Each identity is 16
/// bytes in the order in which it is written. Thread-safe.
/// </remarks>
/// <param name="source">The root key, read each time.</param>
/// <param name="id">The VM's durable identity.</param>
/// <param name="name">The VM's name, for the log.</param>
/// <param name="logger">Where failures are logged.</param>
internal sealed class DerivedKeys(ITeeKeySource source, Guid id, string name, ILogger logger)
{
    private readonly RepeatedMessages _failures = new();

    /// <summary>Derives a key of an application.</summary>
    /// <param name="application">The application.</param>
    /// <param name="label">What tells the application's keys apart.</param>
    /// <param name="key">Receives the key; zeros on failure.</param>
    /// <returns>Success; TEE_ERROR_STORAGE_NOT_AVAILABLE, which is logged, if the root key cannot be read.</returns>
    public TeeReturnCode Derive(Guid application, ReadOnlySpan<byte> label, Span<byte> key)
    {
        Span<byte> size = stackalloc byte[sizeof(int)];
        BinaryPrimitives.WriteInt32BigEndian(size, key.Length);
        byte[] context =
            [.. "OpTeeMediator application key 1"u8, .. application.ToByteArray(bigEndian: true), .. size, .. label];
        byte[]? root = null;
        try
        {
            root = StorageKeys.ReadRootKey(source);
            HKDF.DeriveKey(HashAlgorithmName.SHA256, root, key, id.ToByteArray(bigEndian: true), context);
            return TeeReturnCode.Success;
        }
        catch (Exception exception)
        {
            // The key source is supplied and may throw anything.
            key.Clear();
            if (_failures.IsDue(exception.Message))
            {
                logger.KeyDerivationFailed(
                    exception, name, id, application, exception.Message, TeeReturnCode.StorageNotAvailable);
            }

            return TeeReturnCode.StorageNotAvailable;
        }
        finally
        {
            CryptographicOperations.ZeroMemory(root);
        }
    }
}
