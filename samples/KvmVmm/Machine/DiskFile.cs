using Microsoft.Win32.SafeHandles;

namespace KvmVmm.Machine;

/// <summary>A file that is the guest's disk. It stays open over reboots of the guest.</summary>
internal sealed class DiskFile : IDisposable
{
    /// <summary>The size of a sector in bytes.</summary>
    public const int SectorSize = 512;

    private readonly SafeFileHandle _file;

    private DiskFile(SafeFileHandle file, bool isReadOnly)
    {
        _file = file;
        IsReadOnly = isReadOnly;
        Length = RandomAccess.GetLength(file) / SectorSize * SectorSize;
    }

    /// <summary>Its length in bytes: whole sectors.</summary>
    public long Length { get; }

    /// <summary>Whether the guest may not write to it.</summary>
    public bool IsReadOnly { get; }

    /// <summary>Opens a file; read-only if the VMM may not write it.</summary>
    /// <param name="path">Its path.</param>
    /// <exception cref="BootException">It cannot be opened, is in use, or has no whole sector.</exception>
    public static DiskFile Open(string path)
    {
        try
        {
            bool isReadOnly = (File.GetAttributes(path) & FileAttributes.ReadOnly) != 0;
            FileAccess access = isReadOnly ? FileAccess.Read : FileAccess.ReadWrite;
            FileShare share = isReadOnly ? FileShare.Read : FileShare.None;
            DiskFile file = new(File.OpenHandle(path, FileMode.Open, access, share), isReadOnly);
            if (file.Length > 0)
            {
                return file;
            }

            file.Dispose();
            throw new BootException($"The disk '{path}' is smaller than a sector of {SectorSize} bytes.");
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            throw new BootException($"The disk '{path}' cannot be opened: {failure.Message}");
        }
    }

    /// <summary>Reads bytes; what the file has lost meanwhile reads as 0.</summary>
    public void Read(Span<byte> destination, long position)
    {
        while (!destination.IsEmpty)
        {
            int length = RandomAccess.Read(_file, destination, position);
            if (length == 0)
            {
                destination.Clear();
                return;
            }

            destination = destination[length..];
            position += length;
        }
    }

    /// <summary>Writes bytes.</summary>
    public void Write(ReadOnlySpan<byte> source, long position) => RandomAccess.Write(_file, source, position);

    /// <summary>Makes what was written last.</summary>
    public void Flush() => RandomAccess.FlushToDisk(_file);

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();
}
