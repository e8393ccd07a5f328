using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Remote.Framing;

namespace OpTeeMediator.Remote.Server;

/// <summary>A file of a VM's memory, mapped as long as the VM is connected.</summary>
internal sealed unsafe class HostedFile : IDisposable
{
    private readonly SafeMemoryMapping _mapping;

    private HostedFile(SafeFileHandle file, SafeMemoryMapping mapping, ulong size)
    {
        File = file;
        _mapping = mapping;
        Size = size;
    }

    public SafeHandle File { get; }

    /// <summary>How much of it is mapped, in bytes.</summary>
    public ulong Size { get; }

    public nint Address => _mapping.Address;

    /// <summary>Checks and maps a file that a client has sent. It is this object's, or closed.</summary>
    /// <param name="file">The file.</param>
    /// <param name="permitHugePages">
    /// Whether it may consist of huge pages: a page that the host cannot supply any more is a SIGBUS, which ends the
    /// process.
    /// </param>
    /// <exception cref="ProtocolException">It could shrink under the mapping, or is no memory file.</exception>
    public static HostedFile Map(SafeFileHandle file, bool permitHugePages)
    {
        try
        {
            // First the seal, then the size: it shrinks no more.
            int seals = LibC.Control(file, LibC.F_GET_SEALS, 0);
            if (seals < 0 || (seals & LibC.F_SEAL_SHRINK) == 0)
            {
                throw new ProtocolException("a file that is no memfd with F_SEAL_SHRINK");
            }

            FileStatus status = default;
            if (LibC.GetFileStatus(file, "", LibC.AT_EMPTY_PATH, FileStatus.SizeMask, &status) != 0)
            {
                throw new ProtocolException($"a file whose size is not known ({Errno.NameOf(Errno.Last)})");
            }

            if (status.BlockSize > (uint)Environment.SystemPageSize && !permitHugePages)
            {
                throw new ProtocolException(
                    $"a file of pages of {status.BlockSize} bytes, which only a worker process maps");
            }

            if (status.Size is 0 or > long.MaxValue)
            {
                throw new ProtocolException("an empty file");
            }

            SafeMemoryMapping mapping = SafeMemoryMapping.OfFile(file, (nuint)status.Size, "mmap");
            _ = LibC.Advise(mapping.Address, mapping.Length, LibC.MADV_DONTDUMP);
            return new HostedFile(file, mapping, status.Size);
        }
        catch (SystemCallException exception)
        {
            file.Dispose();
            throw new ProtocolException($"a file that cannot be mapped ({exception.Message})");
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    public void Dispose()
    {
        _mapping.Dispose();
        File.Dispose();
    }
}
