using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace KvmVmm.Machine;

/// <summary>A file that is the guest's disk. It stays open over reboots of the guest.</summary>
internal sealed partial class DiskFile : IDisposable
{
    /// <summary>The size of a sector in bytes.</summary>
    public const int SectorSize = 512;

    // O_RDWR, O_CLOEXEC; LOCK_SH, LOCK_EX, LOCK_NB, LOCK_UN. On arm64 and x86-64.
    private const int ReadWrite = 2;
    private const int CloseOnExec = 0x8_0000;
    private const int LockShared = 1;
    private const int LockExclusive = 2;
    private const int LockWithoutWait = 4;
    private const int LockNone = 8;

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
    /// <param name="isLocked">Whether no other VMM may use it at once; otherwise <see cref="Lock"/> follows.</param>
    /// <exception cref="BootException">It cannot be opened, is in use, or has no whole sector.</exception>
    public static DiskFile Open(string path, bool isLocked = true)
    {
        DiskFile? file = null;
        try
        {
            // File.Open would lock it at once.
            bool isReadOnly = (File.GetAttributes(path) & FileAttributes.ReadOnly) != 0;
            SafeFileHandle handle = new(Open(path, (isReadOnly ? 0 : ReadWrite) | CloseOnExec), ownsHandle: true);
            if (handle.IsInvalid)
            {
                throw new IOException(Marshal.GetLastPInvokeErrorMessage());
            }

            file = new DiskFile(handle, isReadOnly);
            if (file.Length == 0)
            {
                throw new BootException($"The disk '{path}' is smaller than a sector of {SectorSize} bytes.");
            }

            if (isLocked)
            {
                file.Lock();
            }

            return file;
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            file?.Dispose();
            throw new BootException($"The disk '{path}' cannot be opened: {failure.Message}");
        }
        catch
        {
            file?.Dispose();
            throw;
        }
    }

    /// <summary>Keeps other VMMs from using it, or from writing to it if it is read-only.</summary>
    /// <exception cref="BootException">Another one uses it.</exception>
    public void Lock()
    {
        if (Flock(_file, (IsReadOnly ? LockShared : LockExclusive) | LockWithoutWait) != 0)
        {
            throw new BootException($"The disk is in use by another process: {Marshal.GetLastPInvokeErrorMessage()}");
        }
    }

    /// <summary>Lets another VMM use it, to which the VM has moved.</summary>
    public void Unlock() => _ = Flock(_file, LockNone);

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

    [LibraryImport(
        "libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "flock", SetLastError = true)]
    private static partial int Flock(SafeFileHandle file, int operation);
}
