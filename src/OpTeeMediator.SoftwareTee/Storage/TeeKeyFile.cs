using System.Security.Cryptography;

namespace OpTeeMediator.SoftwareTee.Storage;

/// <summary>A root key in a file of 32 to 64 bytes that only its owner can read or write.</summary>
/// <param name="path">The path of the file.</param>
/// <remarks>
/// The file's mode is checked on each use. Its owner cannot be asked for without native calls: with mode 0600 or 0400
/// only a file of the VMM's own user can be opened, except by root. Thread-safe.
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
        FileStreamOptions options = new() { Mode = FileMode.CreateNew, Access = FileAccess.Write };
        if (!OperatingSystem.IsWindows())
        {
            options.UnixCreateMode = OwnerOnly;
        }

        using FileStream file = new(path, options);
        byte[] key = RandomNumberGenerator.GetBytes(MinimumLength);
        file.Write(key);
        file.Flush(flushToDisk: true);
        CryptographicOperations.ZeroMemory(key);
    }

    /// <inheritdoc/>
    /// <exception cref="TeeStoreException">
    /// The file cannot be read, is open to others or has another length.
    /// </exception>
    public byte[] ReadKey()
    {
        try
        {
            using FileStream file = new(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
            if (!OperatingSystem.IsWindows() && (File.GetUnixFileMode(file.SafeFileHandle) & ~OwnerOnly) != 0)
            {
                throw new TeeStoreException(
                    $"The key file {path} is open to others than its owner; expected mode 0600 or 0400.");
            }

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
}
