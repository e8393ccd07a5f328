using System.Security.Cryptography;
using OpTeeMediator.Backends;

namespace OpTeeMediator.SoftwareTee.KernelKeys;

/// <summary>A key of the guest's kernel in the form that the guest keeps: encrypted and authenticated.</summary>
/// <remarks>
/// Version 1: one byte 1; 32 random bytes, the salt; 16 bytes, the tag of AES-256-GCM; the encrypted key. The VM's key
/// and the salt give the key of this one encryption (HKDF-Expand with SHA-256), so that no nonce can repeat under it.
/// The version is authenticated.
/// </remarks>
internal static class SealedKey
{
    /// <summary>The length of the VM's key.</summary>
    public const int KeyLength = 32;

    /// <summary>How much longer than the key its sealed form is.</summary>
    public const int Overhead = TagStart + TagLength;

    private const byte Version = 1;
    private const int SaltStart = 1;
    private const int SaltLength = 32;
    private const int TagStart = SaltStart + SaltLength;
    private const int TagLength = 16;

    private static ReadOnlySpan<byte> Nonce => [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    /// <summary>Seals a key.</summary>
    /// <param name="virtualMachine">The VM's key.</param>
    /// <param name="key">The key to seal.</param>
    /// <param name="output">Receives the sealed key, longer by <see cref="Overhead"/>.</param>
    public static void Seal(ReadOnlySpan<byte> virtualMachine, ReadOnlySpan<byte> key, Span<byte> output)
    {
        output[0] = Version;
        RandomNumberGenerator.Fill(output.Slice(SaltStart, SaltLength));
        using AesGcm cipher = CipherOf(virtualMachine, output.Slice(SaltStart, SaltLength));
        cipher.Encrypt(Nonce, key, output[Overhead..], output.Slice(TagStart, TagLength), output[..SaltStart]);
    }

    /// <summary>Unseals a key.</summary>
    /// <param name="virtualMachine">The VM's key.</param>
    /// <param name="content">The sealed key, longer than <see cref="Overhead"/>.</param>
    /// <param name="output">Receives the key.</param>
    /// <returns>
    /// Success; TEE_ERROR_BAD_FORMAT for an unknown version; TEE_ERROR_SECURITY for a key that is changed or of another
    /// VM.
    /// </returns>
    public static TeeReturnCode Unseal(
        ReadOnlySpan<byte> virtualMachine, ReadOnlySpan<byte> content, Span<byte> output)
    {
        if (content[0] != Version)
        {
            return TeeReturnCode.BadFormat;
        }

        using AesGcm cipher = CipherOf(virtualMachine, content.Slice(SaltStart, SaltLength));
        try
        {
            cipher.Decrypt(
                Nonce, content[Overhead..], content.Slice(TagStart, TagLength), output, content[..SaltStart]);
            return TeeReturnCode.Success;
        }
        catch (AuthenticationTagMismatchException)
        {
            return TeeReturnCode.Security;
        }
    }

    private static AesGcm CipherOf(ReadOnlySpan<byte> virtualMachine, ReadOnlySpan<byte> salt)
    {
        Span<byte> key = stackalloc byte[KeyLength];
        HKDF.Expand(HashAlgorithmName.SHA256, virtualMachine, key, salt);
        AesGcm cipher = new(key, TagLength);
        CryptographicOperations.ZeroMemory(key);
        return cipher;
    }
}
