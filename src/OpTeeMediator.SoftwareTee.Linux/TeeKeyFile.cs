using System.Runtime.InteropServices;
using System.Security.Cryptography;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.SoftwareTee.Linux;

/// <summary>A root key in a file of 32 to 64 bytes that only its owner can read or write.</summary>
/// <param name="path">The path of the file.</param>
/// <remarks>
/// The file's mode, and that its owner is the VMM's user or root, are checked on each use. Thread-safe.
/// </remarks>
public sealed class TeeKeyFile(string path) : ITeeKeySource
{
    /// <summary>The shortest key, in bytes.</summary>
    public const int MinimumLength = 32;

    /// <summary>The longest key, in bytes.</summary>
    public const int MaximumLength = 64;

    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    /// <summary>Makes a new random key in a new file with mode 0600.</summary>
    /// <param name="path">The path of the file, which must not exist.</param>
    /// <exception cref="IOException">It exists or cannot be written.</exception>
    public static void Create(string path)
    {
        FileStreamOptions options = new()
        {
            Mode = FileMode.CreateNew,
            Access = FileAccess.Write,
            UnixCreateMode = OwnerOnly,
        };
        using FileStream file = new(path, options);
        byte[] key = RandomNumberGenerator.GetBytes(MinimumLength);
        file.Write(key);
        file.Flush(flushToDisk: true);
        CryptographicOperations.ZeroMemory(key);
    }

    /// <inheritdoc/>
    /// <exception cref="TeeStoreException">
    /// The file cannot be read, is open to others, belongs to another user or has another length; the message says
    /// which.
    /// </exception>
    public byte[] ReadKey()
    {
        try
        {
            using FileStream file = new(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
            CheckAccess(file);

            if (file.Length is < MinimumLength or > MaximumLength)
            {
                throw new TeeStoreException(
                    $"The key file {path} has {file.Length} bytes; expected {MinimumLength} to {MaximumLength}.");
            }

            byte[] key = new byte[file.Length];
            file.ReadExactly(key);
            return key;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new TeeStoreException($"The key file {path} cannot be read: {exception.Message}", exception);
        }
    }

    private void CheckAccess(FileStream file)
    {
        if ((File.GetUnixFileMode(file.SafeFileHandle) & ~OwnerOnly) != 0)
        {
            throw new TeeStoreException(
                $"The key file {path} is open to others than its owner; expected mode 0600 or 0400.");
        }

        if (!LibC.TryGetOwner(file.SafeFileHandle, out uint owner))
        {
            throw new TeeStoreException(
                $"The owner of the key file {path} cannot be read: {Marshal.GetLastPInvokeErrorMessage()}.");
        }

        uint user = LibC.GetEffectiveUser();
        if (owner != 0 && owner != user)
        {
            throw new TeeStoreException($"The key file {path} belongs to user {owner}; expected {user} or root.");
        }
    }
}
