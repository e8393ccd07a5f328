using Microsoft.Win32.SafeHandles;

namespace KvmVmm.Machine;

/// <summary>
/// A file that is loaded into the guest's memory at each start. It stays open, so that a guest that reboots gets the
/// same file again.
/// </summary>
internal sealed class BootFile : IDisposable
{
    private readonly SafeFileHandle _file;

    private BootFile(string path, SafeFileHandle file)
    {
        Path = path;
        _file = file;
        Length = RandomAccess.GetLength(file);
    }

    /// <summary>Its path.</summary>
    public string Path { get; }

    /// <summary>Its length in bytes.</summary>
    public long Length { get; }

    /// <summary>Opens a file.</summary>
    /// <param name="what">What it is, for messages.</param>
    /// <param name="path">Its path.</param>
    /// <returns>The file.</returns>
    /// <exception cref="BootException">It cannot be opened or is not of a sensible length.</exception>
    public static BootFile Open(string what, string path)
    {
        try
        {
            BootFile file = new(path, File.OpenHandle(path));
            if (file.Length is > 0 and <= int.MaxValue)
            {
                return file;
            }

            file.Dispose();
            throw new BootException($"{what} '{path}' has {file.Length} bytes; expected 1 to {int.MaxValue}.");
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            throw new BootException($"{what} '{path}' cannot be opened: {failure.Message}");
        }
    }

    /// <summary>Reads the beginning of the file.</summary>
    /// <param name="destination">Receives the bytes.</param>
    /// <exception cref="BootException">There are not as many.</exception>
    public void Read(Span<byte> destination)
    {
        for (int offset = 0; offset < destination.Length;)
        {
            int length = RandomAccess.Read(_file, destination[offset..], offset);
            offset += length > 0
                ? length
                : throw new BootException(
                    $"'{Path}' ends after {offset} bytes; expected {destination.Length}. "
                    + "Was it changed while the VMM ran?");
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();
}
