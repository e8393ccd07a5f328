using System.IO.MemoryMappedFiles;

namespace OpTeeMediator.Fuzzing.Engine;

/// <summary>The input that is being executed, in a file that survives the process: its length, its bytes.</summary>
internal sealed unsafe class CurrentInput : IDisposable
{
    private readonly MemoryMappedFile _file;
    private readonly MemoryMappedViewAccessor _view;
    private readonly byte* _start;
    private readonly int _capacity;

    public CurrentInput(string path, int capacity)
    {
        _capacity = capacity;
        _file = MemoryMappedFile.CreateFromFile(path, FileMode.Create, null, sizeof(int) + capacity);
        _view = _file.CreateViewAccessor();
        _view.SafeMemoryMappedViewHandle.AcquirePointer(ref _start);
    }

    public Span<byte> Buffer => new(_start + sizeof(int), _capacity);

    public int Length
    {
        get => *(int*)_start;
        set => *(int*)_start = value;
    }

    public void Dispose()
    {
        _view.SafeMemoryMappedViewHandle.ReleasePointer();
        _view.Dispose();
        _file.Dispose();
    }
}
