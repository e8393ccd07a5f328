using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.SoftwareTee.Linux;

/// <summary>A root key in the kernel's keyrings: a key of type "user", which exists in memory only.</summary>
/// <remarks>
/// The kernel searches the keyrings of the thread, the process and the session, in this order. The key must belong to
/// the VMM's user or to root, and group and others may at most see that it exists. It is read and checked on each use.
/// Thread-safe.
/// </remarks>
public sealed class KernelKeyringSource : ITeeKeySource
{
    /// <summary>The shortest key, in bytes.</summary>
    public const int MinimumLength = TeeKeyFile.MinimumLength;

    /// <summary>The longest key, in bytes.</summary>
    public const int MaximumLength = TeeKeyFile.MaximumLength;

    private const string Type = "user";
    private const int MaximumDescriptionLength = 4096;

    // uapi/linux/keyctl.h: six permissions each for group and others, of which only "view" is harmless.
    private const uint HarmfulToOthers = 0x3e3e;

    // uapi/asm-generic/errno.h
    private const int EPERM = 1;
    private const int ENOSYS = 38;
    private const int ENOKEY = 126;
    private const int EKEYEXPIRED = 127;
    private const int EKEYREVOKED = 128;

    private readonly string _name;

    /// <summary>Names the key.</summary>
    /// <param name="name">Its description in the keyring, for example "opteemediator:root".</param>
    /// <exception cref="ArgumentException">The name is empty, longer than 4095 bytes, or has a zero in it.</exception>
    public KernelKeyringSource(string name)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        if (Encoding.UTF8.GetByteCount(name) >= MaximumDescriptionLength
            || name.Contains('\0', StringComparison.Ordinal))
        {
            throw new ArgumentException("The name of a key has at most 4095 bytes, and no zero.", nameof(name));
        }

        _name = name;
    }

    /// <inheritdoc/>
    /// <exception cref="TeeStoreException">
    /// There is no such key, it cannot be read, is open to others or has another length; the message says which.
    /// </exception>
    public byte[] ReadKey()
    {
        int serial = LibC.RequestKey(Type, _name);
        if (serial < 0)
        {
            throw Failure(Marshal.GetLastPInvokeError());
        }

        CheckPermissions(serial);
        Span<byte> key = stackalloc byte[MaximumLength];
        int length = LibC.ReadKey(serial, key);
        if (length < 0)
        {
            throw Failure(Marshal.GetLastPInvokeError());
        }

        if (length is < MinimumLength or > MaximumLength)
        {
            CryptographicOperations.ZeroMemory(key);
            throw new TeeStoreException(
                $"The key {_name} of the kernel's keyrings has {length} bytes; "
                + $"expected {MinimumLength} to {MaximumLength}.");
        }

        byte[] result = key[..length].ToArray();
        CryptographicOperations.ZeroMemory(key);
        return result;
    }

    // The text is "type;user;group;permissions;name".
    private void CheckPermissions(int serial)
    {
        Span<byte> buffer = new byte[MaximumDescriptionLength + 64];
        int length = LibC.DescribeKey(serial, buffer);
        if (length < 0)
        {
            throw Failure(Marshal.GetLastPInvokeError());
        }

        string[] parts = Encoding.UTF8.GetString(buffer[..Math.Min(length, buffer.Length)]).Split(';', 5);
        if (parts.Length < 5
            || !uint.TryParse(parts[1], CultureInfo.InvariantCulture, out uint owner)
            || !uint.TryParse(parts[3], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out uint access))
        {
            throw new TeeStoreException($"The kernel's description of the key {_name} cannot be read.");
        }

        uint user = LibC.GetEffectiveUser();
        if (owner != 0 && owner != user)
        {
            throw new TeeStoreException(
                $"The key {_name} of the kernel's keyrings belongs to user {owner}; expected {user} or root.");
        }

        if ((access & HarmfulToOthers) != 0)
        {
            throw new TeeStoreException(
                $"The key {_name} of the kernel's keyrings is open to others, with permissions {access:x8}; "
                + "expected none for group and others (keyctl setperm).");
        }
    }

    private TeeStoreException Failure(int error) => new(error switch
    {
        ENOKEY => $"The kernel's keyrings have no key {_name} of type user; add one (keyctl add) to a keyring that "
            + "this process searches: its session's, or the user's if that is linked to it (keyctl link @u @s).",
        EKEYEXPIRED => $"The key {_name} of the kernel's keyrings has expired; add it again.",
        EKEYREVOKED => $"The key {_name} of the kernel's keyrings was revoked; add it again.",
        EPERM or ENOSYS => "The kernel's keyrings cannot be used: the kernel lacks them, or a seccomp filter forbids "
            + $"them ({Marshal.GetPInvokeErrorMessage(error)}).",
        _ => $"The key {_name} of the kernel's keyrings cannot be read: {Marshal.GetPInvokeErrorMessage(error)}.",
    });
}
