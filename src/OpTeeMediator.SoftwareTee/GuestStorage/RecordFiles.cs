using System.Globalization;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.SoftwareTee.Operations;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.SoftwareTee.GuestStorage;

/// <summary>The files of a VM's records, by its tee-supplicant, in the operation that runs on the caller's
/// thread.</summary>
/// <remarks>VM/APPLICATION-OBJECT/PART-VERSION: the supplicant makes two levels of folders that are missing, and
/// removes those that become empty. Not thread-safe.</remarks>
/// <param name="virtualMachine">The VM's durable identity.</param>
internal sealed class RecordFiles(Guid virtualMachine)
{
    // The guest decides how much it answers, and not how much the host stores. Heads and directories of large objects
    // are larger than chunks.
    private const int LargestRecord = 16 << 20;
    private const int MostFilesOfAnObject = 1 << 16;
    private const int FilesAtATime = 64;

    private readonly string _folder = virtualMachine.ToString("N");
    private ThreadOperation? _operation;
    private GuestFileSystem? _files;

    private GuestFileSystem Files
    {
        get
        {
            ThreadOperation operation = ThreadOperation.Current ?? throw new TeeStoreException(
                $"The objects of VM {virtualMachine} are in its guest's files, which only the thread of an operation "
                + "reaches: use storage on that thread, in an application with Execution = Worker.");
            if (_files is null || _operation != operation)
            {
                (_operation, _files) = (operation, new GuestFileSystem(operation));
            }

            return _files;
        }
    }

    /// <summary>Whether there is a file.</summary>
    public bool Any()
    {
        using GuestDirectory? folder = Files.OpenDirectory(_folder, out TeeReturnCode code);
        return Exists(code, "list");
    }

    /// <summary>Reads a record.</summary>
    /// <returns><see langword="null"/> if there is none.</returns>
    public byte[]? Read(TeeStoreKey key, long version)
    {
        using GuestFile? file = Files.Open(NameOf(key, version), out TeeReturnCode code);
        if (!Exists(code, "open"))
        {
            return null;
        }

        byte[] content = [];
        code = file?.ReadAll(LargestRecord, out content) ?? code;
        return code == TeeReturnCode.ExcessData
            ? throw new TeeStoreException(
                TeeStoreFailure.Corrupt, $"The guest's file of record {key} is larger than any record.", null)
            : Exists(code, "read") ? content : null;
    }

    /// <summary>Writes a new record.</summary>
    public void Write(TeeStoreKey key, TeeStoreRecord record)
    {
        if (record.Data.Length > LargestRecord)
        {
            throw new TeeStoreException(
                TeeStoreFailure.Full, $"The record {key} has {record.Data.Length} bytes, too many for a file.", null);
        }

        using GuestFile? file = Files.Create(NameOf(key, record.Version), out TeeReturnCode code);
        code = file?.Write(0, record.Data.Span) ?? code;
        if (!Exists(code, "write"))
        {
            throw Failure(code, "write");
        }
    }

    /// <summary>Removes a record that nothing refers to any more. A guest that does not is left with it.</summary>
    public void Remove(TeeStoreKey key, long version) => _ = Files.Remove(NameOf(key, version));

    /// <summary>Removes the records of an object to which nothing refers any more, as <see cref="Remove"/>.</summary>
    public void RemoveAll(Guid application, Guid number)
    {
        string folder = FolderOf(application, number);
        List<string> names = new(FilesAtATime);
        int removed = 0;
        do
        {
            names.Clear();
            using (GuestDirectory? files = Files.OpenDirectory(folder, out _))
            {
                while (names.Count < FilesAtATime && files?.Read(out string name) == TeeReturnCode.Success)
                {
                    names.Add(name);
                }
            }

            foreach (string name in names)
            {
                if (Files.Remove($"{folder}/{name}") != TeeReturnCode.Success)
                {
                    return;
                }
            }

            removed += names.Count;
        }
        while (names.Count == FilesAtATime && removed < MostFilesOfAnObject);
    }

    private static bool Exists(TeeReturnCode code, string action) => code switch
    {
        TeeReturnCode.Success => true,
        TeeReturnCode.ItemNotFound => false,
        _ => throw Failure(code, action),
    };

    private static TeeStoreException Failure(TeeReturnCode code, string action) => code == TeeReturnCode.StorageNoSpace
        ? new TeeStoreException(TeeStoreFailure.Full, "The guest has no space for a file of its objects.", null)
        : new TeeStoreException(
            $"The guest's tee-supplicant has answered {code} (0x{(uint)code:x8}) to {action} a file of its objects: it "
            + "must run, and its folder must be writable.");

    private string FolderOf(Guid application, Guid number) => $"{_folder}/{application:N}-{number:N}";

    private string NameOf(TeeStoreKey key, long version) => string.Create(
        CultureInfo.InvariantCulture, $"{FolderOf(key.Application, key.Object)}/{key.Part}-{version}");
}
