using System.Buffers.Binary;
using System.Security.Cryptography;

namespace OpTeeMediator.Kvm.State;

/// <summary>The first bytes of a saved state, which are readable without the key.</summary>
/// <remarks>
/// <code>
/// 0  magic "OTVMSAVE"    8  version, 2 bytes    10  protection, 1 byte    11  zero, 5 bytes
/// 16 the VM's identity, 16 bytes as a UUID is printed                     32  salt, 32 random bytes
/// </code>
/// Numbers are little endian.
/// </remarks>
internal static class StateHeader
{
    internal const int Size = 64;

    private const ushort Version = 1;
    private const byte WithChecksum = 0;
    private const byte WithAesGcm = 1;

    private const int VersionOffset = 8;
    private const int ProtectionOffset = 10;
    private const int ZeroOffset = 11;
    private const int IdentityOffset = 16;
    private const int SaltOffset = 32;

    private static ReadOnlySpan<byte> Magic => "OTVMSAVE"u8;

    internal static byte[] Create(VmStateOptions options)
    {
        byte[] header = new byte[Size];
        Magic.CopyTo(header);
        BinaryPrimitives.WriteUInt16LittleEndian(header.AsSpan(VersionOffset), Version);
        header[ProtectionOffset] = options.Key.IsEmpty ? WithChecksum : WithAesGcm;
        _ = options.VmIdentity.TryWriteBytes(header.AsSpan(IdentityOffset), bigEndian: true, out _);
        RandomNumberGenerator.Fill(header.AsSpan(SaltOffset));
        return header;
    }

    /// <summary>Checks that a state is one that the options are for.</summary>
    /// <exception cref="InvalidDataException">It is not.</exception>
    internal static void Check(ReadOnlySpan<byte> header, VmStateOptions options)
    {
        if (header.StartsWith("OpTeeVM\n"u8))
        {
            throw new InvalidDataException(
                "This is the saved state of a mediated OP-TEE, which OpTeeGuest.RestoreAsync restores with the "
                + "backend that the VM had, and neither a companion's nor a whole VM's.");
        }

        if (!header.StartsWith(Magic))
        {
            throw new InvalidDataException("This is no saved state of a VM.");
        }

        ushort version = BinaryPrimitives.ReadUInt16LittleEndian(header[VersionOffset..]);
        if (version != Version)
        {
            throw new InvalidDataException(
                $"The saved state has version {version} of the format; this program reads version {Version}.");
        }

        if (header[ProtectionOffset] > WithAesGcm || header[ZeroOffset..IdentityOffset].ContainsAnyExcept((byte)0))
        {
            throw new InvalidDataException("The saved state has a header that this program does not know.");
        }

        bool isEncrypted = header[ProtectionOffset] == WithAesGcm;
        if (isEncrypted == options.Key.IsEmpty)
        {
            throw new InvalidDataException(isEncrypted
                ? "The saved state is encrypted, and no key is given."
                : "The saved state is not encrypted, though a key is given: somebody else may have written it.");
        }

        Guid identity = new(header[IdentityOffset..SaltOffset], bigEndian: true);
        if (identity != options.VmIdentity)
        {
            throw new InvalidDataException(
                $"The saved state is that of VM {identity}; expected that of VM {options.VmIdentity}.");
        }
    }

    internal static ChunkProtection ProtectionFor(ReadOnlySpan<byte> header, VmStateOptions options) =>
        options.Key.IsEmpty
            ? new ChecksumProtection([.. header, .. options.Challenge.Span])
            : new AesGcmProtection(
                options.Key.Span, header[SaltOffset..Size], [.. header[..SaltOffset], .. options.Challenge.Span]);
}
