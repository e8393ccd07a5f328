using System.Runtime.InteropServices;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Remote.Framing;

namespace OpTeeMediator.Remote.Client;

/// <summary>The files of the VM's memory that a server has, by their numbers there.</summary>
/// <remarks>Thread-safe. A file is sent once, before the first frame that names it.</remarks>
internal sealed unsafe class ClientFiles(FrameChannel channel)
{
    private readonly List<(SafeHandle File, ulong Size)> _files = [];
    private readonly FrameBuilder _frame = new();
    private readonly Lock _lock = new();

    /// <summary>The number of a file, which is sent if the server does not have it.</summary>
    /// <param name="file">The file.</param>
    /// <param name="end">How much of it the server must have mapped, in bytes.</param>
    /// <exception cref="InvalidOperationException">The file cannot be shared with another process safely.</exception>
    public uint NumberOf(SafeHandle file, ulong end)
    {
        lock (_lock)
        {
            for (int index = 0; index < _files.Count; index++)
            {
                if (ReferenceEquals(_files[index].File, file) && end <= _files[index].Size)
                {
                    return (uint)index;
                }
            }

            return Send(file);
        }
    }

    private uint Send(SafeHandle file)
    {
        if (_files.Count == FrameFormat.Files)
        {
            throw new InvalidOperationException(
                $"The VM's memory has more than {FrameFormat.Files} files, the most that a TEE server maps; use fewer "
                + "and larger ones.");
        }

        // A file of another process must not shrink under the mapping.
        int seals = LibC.Control(file, LibC.F_GET_SEALS, 0);
        if (seals < 0 || ((seals & LibC.F_SEAL_SHRINK) == 0
            && LibC.Control(file, LibC.F_ADD_SEALS, LibC.F_SEAL_SHRINK) < 0))
        {
            throw new InvalidOperationException(
                "The file behind the VM's memory cannot be sealed against shrinking, which a TEE server insists on: "
                + "use a memfd that permits seals (MFD_ALLOW_SEALING), as MemfdGuestMemory does.");
        }

        FileStatus status = default;
        if (LibC.GetFileStatus(file, "", LibC.AT_EMPTY_PATH, FileStatus.SizeMask, &status) != 0)
        {
            throw new SystemCallException("statx of the file behind the VM's memory", Errno.Last, "");
        }

        _frame.Begin(FrameType.AddFile, channel.Partition, 0);
        _ = channel.TrySend(_frame.Frame, file);
        _files.Add((file, status.Size));
        return (uint)_files.Count - 1;
    }
}
