using System.Buffers.Binary;
using System.Security.Cryptography;

namespace OpTeeMediator.Kvm.State;

/// <summary>AES-256-GCM: the nonce is the chunk's number, the key one that is derived for this state only.</summary>
/// <remarks>The key is HKDF-SHA256 of the VMM's key, with the header's salt, and with the rest of the header in its
/// info, and the challenge if there is one: so a changed header gives another key. A chunk's header is authenticated
/// with it.</remarks>
internal sealed class AesGcmProtection : ChunkProtection
{
    private const int KeySize = 32;

    private readonly AesGcm _cipher;
    private ulong _chunks;

    internal AesGcmProtection(ReadOnlySpan<byte> key, ReadOnlySpan<byte> salt, ReadOnlySpan<byte> header)
    {
        ReadOnlySpan<byte> purpose = "OpTeeMediator saved VM "u8;
        Span<byte> info = stackalloc byte[StateHeader.Size + VmStateOptions.MaximumChallengeSize];
        purpose.CopyTo(info);
        header.CopyTo(info[purpose.Length..]);
        Span<byte> derived = stackalloc byte[KeySize];
        HKDF.DeriveKey(HashAlgorithmName.SHA256, key, derived, salt, info[..(purpose.Length + header.Length)]);
        _cipher = new AesGcm(derived, TagSize);
        CryptographicOperations.ZeroMemory(derived);
    }

    internal override void Protect(ReadOnlySpan<byte> header, Span<byte> content, Span<byte> tag)
    {
        Span<byte> nonce = stackalloc byte[12];
        NextNonce(nonce);
        _cipher.Encrypt(nonce, content, content, tag, header);
    }

    internal override bool TryOpen(ReadOnlySpan<byte> header, Span<byte> content, ReadOnlySpan<byte> tag)
    {
        Span<byte> nonce = stackalloc byte[12];
        NextNonce(nonce);
        try
        {
            _cipher.Decrypt(nonce, content, tag, content, header);
            return true;
        }
        catch (AuthenticationTagMismatchException)
        {
            return false;
        }
    }

    public override void Dispose() => _cipher.Dispose();

    private void NextNonce(Span<byte> nonce)
    {
        nonce.Clear();
        BinaryPrimitives.WriteUInt64LittleEndian(nonce, _chunks++);
    }
}
