using Microsoft.Win32.SafeHandles;
using OpTeeMediator.Remote.Framing;

namespace OpTeeMediator.Remote.Server;

/// <summary>The files of one VM's memory, by the numbers that its client gives them from 0 on.</summary>
/// <remarks>Changed and read by the connection's thread.</remarks>
/// <param name="permitHugePages">See <see cref="HostedFile.Map"/>.</param>
internal sealed class HostedFiles(bool permitHugePages) : IDisposable
{
    private readonly List<HostedFile> _files = [];

    /// <summary>The file of a number.</summary>
    /// <exception cref="ProtocolException">There is none.</exception>
    public HostedFile this[uint number] => number < (uint)_files.Count
        ? _files[(int)number]
        : throw new ProtocolException($"file {number} of {_files.Count}");

    /// <summary>Adds a file, which is this object's from now on.</summary>
    /// <exception cref="ProtocolException">It is not permitted.</exception>
    public void Add(SafeFileHandle file)
    {
        if (_files.Count == FrameFormat.Files)
        {
            file.Dispose();
            throw new ProtocolException($"more than {FrameFormat.Files} files");
        }

        _files.Add(HostedFile.Map(file, permitHugePages));
    }

    public void Dispose()
    {
        foreach (HostedFile file in _files)
        {
            file.Dispose();
        }
    }
}
