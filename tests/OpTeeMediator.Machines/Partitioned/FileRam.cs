using System.IO.MemoryMappedFiles;
using OpTeeMediator.Testing.Forwarding;

namespace OpTeeMediator.Machines.Partitioned;

/// <summary>The machine's memory: a file that qemu maps too.</summary>
public sealed unsafe class FileRam : PhysicalRam, IDisposable
{
    private readonly MemoryMappedFile _file;
    private readonly MemoryMappedViewAccessor _view;
    private readonly byte* _start;

    public FileRam(string path, ulong start, int length)
        : base(start, length)
    {
        _file = MemoryMappedFile.CreateFromFile(path, FileMode.CreateNew, null, length);
        _view = _file.CreateViewAccessor(0, length);
        _view.SafeMemoryMappedViewHandle.AcquirePointer(ref _start);
    }

    public override Span<byte> Bytes => new(_start, Length);

    public void Dispose()
    {
        _view.SafeMemoryMappedViewHandle.ReleasePointer();
        _view.Dispose();
        _file.Dispose();
    }
}
