using System.Buffers.Binary;
using System.Security.Cryptography;

namespace OpTeeMediator.SoftwareTee.Storage;

/// <summary>Encrypts and authenticates the records of one VM.</summary>
/// <remarks>
/// Root key, VM and application give the application's key (HKDF with SHA-256); that and a random stamp of 128 bits
/// give the key of one single encryption (AES-256-GCM). A key encrypts once, hence no nonce can repeat under it, not
/// even after a crash or on an older copy of the store. Not thread-safe.
/// </remarks>
internal sealed class StorageKeys : IDisposable
{
    /// <summary>The length of the value that tells keys apart.</summary>
    public const int CheckLength = 8;

    private const int KeyLength = 32;
    private const int TagLength = 16;

    private static readonly byte[] ZeroNonce = new byte[12];

    private readonly Guid _virtualMachine;
    private readonly byte[] _key = new byte[KeyLength];
    private readonly Dictionary<Guid, byte[]> _applicationKeys = [];

    public StorageKeys(ITeeKeySource source, Guid virtualMachine)
    {
        _virtualMachine = virtualMachine;
        byte[] root = ReadRootKey(source);
        _ = HKDF.Extract(HashAlgorithmName.SHA256, root, virtualMachine.ToByteArray(), _key);
        CryptographicOperations.ZeroMemory(root);
        HKDF.Expand(HashAlgorithmName.SHA256, _key, Check, "OpTeeMediator storage 1 check"u8);
    }

    /// <summary>Tells whether two root keys differ, and nothing else about them.</summary>
    public byte[] Check { get; } = new byte[CheckLength];

    /// <summary>Reads the root key.</summary>
    /// <param name="source">Where from.</param>
    /// <returns>32 bytes or more, to be overwritten after use.</returns>
    /// <exception cref="TeeStoreException">It is too short.</exception>
    public static byte[] ReadRootKey(ITeeKeySource source)
    {
        byte[] root = source.ReadKey();
        return root.Length >= KeyLength
            ? root
            : throw new TeeStoreException($"The root key has {root.Length} bytes; expected {KeyLength} or more.");
    }

    /// <summary>Encrypts a record under a key that is used once.</summary>
    /// <param name="key">Where the record belongs.</param>
    /// <param name="reference">Its version, and a stamp that was never used.</param>
    /// <param name="plain">Its content.</param>
    /// <returns>The ciphertext and its tag.</returns>
    public byte[] Encrypt(TeeStoreKey key, RecordReference reference, ReadOnlySpan<byte> plain)
    {
        byte[] data = new byte[plain.Length + TagLength];
        using AesGcm cipher = CipherOf(key.Application, reference.Stamp);
        cipher.Encrypt(
            ZeroNonce,
            plain,
            data.AsSpan(0, plain.Length),
            data.AsSpan(plain.Length),
            AssociatedData(key, reference.Version, plain.Length));
        return data;
    }

    /// <summary>Decrypts a record.</summary>
    /// <param name="key">Where the record belongs.</param>
    /// <param name="reference">What its parent knows of it.</param>
    /// <param name="data">The ciphertext and its tag.</param>
    /// <exception cref="CorruptStorageException">It is not what was written there last.</exception>
    public byte[] Decrypt(TeeStoreKey key, RecordReference reference, ReadOnlySpan<byte> data)
    {
        int length = data.Length - TagLength;
        if (length < 0)
        {
            throw new CorruptStorageException($"the record {key} is too short");
        }

        byte[] plain = new byte[length];
        using AesGcm cipher = CipherOf(key.Application, reference.Stamp);
        try
        {
            cipher.Decrypt(
                ZeroNonce, data[..length], data[length..], plain, AssociatedData(key, reference.Version, length));
        }
        catch (AuthenticationTagMismatchException exception)
        {
            throw new CorruptStorageException($"the record {key} is not the one that was written last", exception);
        }

        return plain;
    }

    public void Dispose()
    {
        CryptographicOperations.ZeroMemory(_key);
        foreach (byte[] key in _applicationKeys.Values)
        {
            CryptographicOperations.ZeroMemory(key);
        }

        _applicationKeys.Clear();
    }

    private AesGcm CipherOf(Guid application, Guid stamp)
    {
        Span<byte> key = stackalloc byte[KeyLength];
        HKDF.Expand(HashAlgorithmName.SHA256, ApplicationKey(application), key, stamp.ToByteArray());
        AesGcm cipher = new(key, TagLength);
        CryptographicOperations.ZeroMemory(key);
        return cipher;
    }

    private byte[] ApplicationKey(Guid application)
    {
        if (!_applicationKeys.TryGetValue(application, out byte[]? key))
        {
            byte[] info = [.. "OpTeeMediator storage 1 application"u8, .. application.ToByteArray()];
            key = HKDF.Expand(HashAlgorithmName.SHA256, _key, KeyLength, info);
            _applicationKeys.Add(application, key);
        }

        return key;
    }

    private byte[] AssociatedData(TeeStoreKey key, long version, int length)
    {
        byte[] data = new byte[64];
        _ = _virtualMachine.TryWriteBytes(data);
        _ = key.Application.TryWriteBytes(data.AsSpan(16));
        _ = key.Object.TryWriteBytes(data.AsSpan(32));
        BinaryPrimitives.WriteInt32LittleEndian(data.AsSpan(48), key.Part);
        BinaryPrimitives.WriteInt32LittleEndian(data.AsSpan(52), length);
        BinaryPrimitives.WriteInt64LittleEndian(data.AsSpan(56), version);
        return data;
    }
}
