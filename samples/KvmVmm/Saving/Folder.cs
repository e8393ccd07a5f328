using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace KvmVmm.Saving;

/// <summary>A folder's entries, which the disk has only when the folder is flushed too.</summary>
internal static partial class Folder
{
    // O_RDONLY | O_CLOEXEC. .NET opens no folders.
    private const int ForReading = 0x80000;

    /// <summary>Waits until the disk has the entry of a file.</summary>
    /// <param name="file">The file, which may just have been renamed.</param>
    /// <exception cref="IOException">The folder cannot be opened or flushed.</exception>
    public static void FlushEntry(string file)
    {
        string folder = Path.GetDirectoryName(Path.GetFullPath(file))!;
        using SafeFileHandle handle = new(OpenFolder(folder, ForReading), ownsHandle: true);
        if (handle.IsInvalid)
        {
            string error = Marshal.GetPInvokeErrorMessage(Marshal.GetLastPInvokeError());
            throw new IOException($"The folder {folder} cannot be opened: {error}");
        }

        RandomAccess.FlushToDisk(handle);
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint OpenFolder(string path, int flags);
}
