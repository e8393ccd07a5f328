namespace OpTeeMediator.SharedMemory;

/// <summary>Counts the buffers and pages that a VM shares, against its limits.</summary>
/// <remarks>One for the life of the VM: what an earlier driver left counts until it is gone. Thread-safe.</remarks>
internal sealed class MemoryBudget(int buffersAtMost, int pagesAtMost, int pagesPerBuffer)
{
    private const int BufferShift = 40;
    private const long OneBuffer = 1L << BufferShift;
    private const long PageMask = OneBuffer - 1;

    // Buffers above, pages below: one atomic addition counts both.
    private long _held;

    public int Buffers => (int)(Volatile.Read(ref _held) >> BufferShift);

    public int Pages => (int)(Volatile.Read(ref _held) & PageMask);

    /// <summary>The most pages that one buffer may have.</summary>
    public int PagesPerBuffer => pagesPerBuffer;

    /// <summary>Counts one more buffer; refuses if that would break a limit.</summary>
    public bool TryTake(int pages)
    {
        long held = Interlocked.Add(ref _held, OneBuffer + pages);
        if ((held & PageMask) <= pagesAtMost && (held >> BufferShift) <= buffersAtMost)
        {
            return true;
        }

        Return(pages);
        return false;
    }

    public void Return(int pages) => _ = Interlocked.Add(ref _held, -(OneBuffer + pages));
}
