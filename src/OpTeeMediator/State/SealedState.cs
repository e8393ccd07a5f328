using System.Buffers.Binary;
using System.Security.Cryptography;

namespace OpTeeMediator.State;

/// <summary>The outside of a saved state: of which VM it is, in which version, and its protection.</summary>
/// <remarks>
/// <code>
/// offset  bytes
///      0      8  "OpTeeVM\n"
///      8      4  version of the format: 1
///     12      4  protection: 0 SHA-256, 1 AES-256-GCM
///     16     16  the VM's identity
///     32     12  the nonce of AES-GCM, else 0
///     44      4  n, the length of the content
///     48      n  the content, encrypted by AES-GCM
///   48+n  32|16  SHA-256 of all that comes before, or the tag of AES-GCM, which covers it too
/// </code>
/// Numbers are little-endian. Nothing of the content is looked at before the whole is found unchanged.
/// </remarks>
internal static class SealedState
{
    private const uint Version = 1;
    private const int HeaderLength = 48;
    private const int NonceLength = 12;
    private const int TagLength = 16;

    private static ReadOnlySpan<byte> Magic => "OpTeeVM\n"u8;

    public static byte[] Seal(ReadOnlySpan<byte> content, Guid identity, ReadOnlySpan<byte> key)
    {
        bool isEncrypted = !key.IsEmpty;
        int end = HeaderLength + content.Length;
        byte[] state = new byte[end + (isEncrypted ? TagLength : SHA256.HashSizeInBytes)];
        Span<byte> header = state.AsSpan(0, HeaderLength);
        Magic.CopyTo(header);
        BinaryPrimitives.WriteUInt32LittleEndian(header[8..], Version);
        BinaryPrimitives.WriteUInt32LittleEndian(header[12..], isEncrypted ? 1u : 0);
        _ = identity.TryWriteBytes(header[16..], bigEndian: true, out _);
        BinaryPrimitives.WriteUInt32LittleEndian(header[44..], (uint)content.Length);
        Span<byte> body = state.AsSpan(HeaderLength, content.Length);
        if (!isEncrypted)
        {
            content.CopyTo(body);
            _ = SHA256.HashData(state.AsSpan(0, end), state.AsSpan(end));
            return state;
        }

        Span<byte> nonce = header.Slice(32, NonceLength);
        RandomNumberGenerator.Fill(nonce);
        using AesGcm cipher = new(key, TagLength);
        cipher.Encrypt(nonce, content, body, state.AsSpan(end), header);
        return state;
    }

    /// <exception cref="OpTeeStateException">The state is not one that may be restored here.</exception>
    public static byte[] Unseal(ReadOnlySpan<byte> state, Guid identity, ReadOnlySpan<byte> key)
    {
        if (state.StartsWith("OTVMSAVE"u8))
        {
            throw new OpTeeStateException(
                "This is the saved state of a companion, which OpTeeCompanion.RestoreAsync restores, or of a whole "
                + "VM, of which the VMM that has written it reads the part of its OP-TEE.");
        }

        if (state.Length < HeaderLength || !state.StartsWith(Magic))
        {
            throw new OpTeeStateException("This is not the saved state of a VM's OP-TEE.");
        }

        ReadOnlySpan<byte> header = state[..HeaderLength];
        uint version = BinaryPrimitives.ReadUInt32LittleEndian(header[8..]);
        if (version != Version)
        {
            throw new OpTeeStateException(
                $"The state has version {version} of the format, and this library reads version {Version}: restore it "
                + "with the version of the library that has written it.");
        }

        bool isEncrypted = BinaryPrimitives.ReadUInt32LittleEndian(header[12..]) switch
        {
            0 => false,
            1 => true,
            uint other => throw StateReader.Malformed($"its protection is {other}"),
        };
        if (isEncrypted == key.IsEmpty)
        {
            throw new OpTeeStateException(isEncrypted
                ? $"The state is encrypted: {nameof(OpTeeStateOptions)}.{nameof(OpTeeStateOptions.Key)} is missing."
                : "The state is not encrypted, though a key is given: anyone could have written it.");
        }

        Guid owner = new(header.Slice(16, 16), bigEndian: true);
        if (owner != identity)
        {
            throw new OpTeeStateException(
                $"The state is that of the VM with identity {owner}, and this VM has {identity}.");
        }

        int length = state.Length - HeaderLength - (isEncrypted ? TagLength : SHA256.HashSizeInBytes);
        if (length < 0 || BinaryPrimitives.ReadUInt32LittleEndian(header[44..]) != (uint)length)
        {
            throw new OpTeeStateException("The state is not whole: its length is not the one that it names.");
        }

        ReadOnlySpan<byte> body = state.Slice(HeaderLength, length);
        ReadOnlySpan<byte> tag = state[(HeaderLength + length)..];
        return isEncrypted ? Decrypt(header, body, tag, key) : Check(state[..^tag.Length], tag).ToArray();
    }

    private static ReadOnlySpan<byte> Check(ReadOnlySpan<byte> state, ReadOnlySpan<byte> sum) =>
        SHA256.HashData(state).AsSpan().SequenceEqual(sum)
            ? state[HeaderLength..]
            : throw new OpTeeStateException("The state was changed: its check sum is wrong.");

    private static byte[] Decrypt(
        ReadOnlySpan<byte> header, ReadOnlySpan<byte> body, ReadOnlySpan<byte> tag, ReadOnlySpan<byte> key)
    {
        byte[] content = new byte[body.Length];
        using AesGcm cipher = new(key, TagLength);
        try
        {
            cipher.Decrypt(header.Slice(32, NonceLength), body, tag, content, header);
            return content;
        }
        catch (AuthenticationTagMismatchException exception)
        {
            throw new OpTeeStateException("The state was changed, or written with another key.", exception);
        }
    }
}
