namespace OpTeeMediator.SharedMemory;

/// <summary>Counts the buffers and pages that a VM shares, against its limits.</summary>
/// <remarks>One for the life of the VM: what an earlier driver left counts until it is really gone. Thread-safe.</remarks>
internal sealed class MemoryBudget(int buffersAtMost, int pagesAtMost, int pagesPerBuffer)
{
    private int _buffers;
    private int _pages;

    public int Buffers => Volatile.Read(ref _buffers);

    public int Pages => Volatile.Read(ref _pages);

    /// <summary>The most pages that one buffer may have.</summary>
    public int PagesPerBuffer => pagesPerBuffer;

    /// <summary>Counts one more buffer; refuses if that would break a limit.</summary>
    public bool TryTake(int pages)
    {
        if (Interlocked.Add(ref _pages, pages) <= pagesAtMost)
        {
            if (Interlocked.Increment(ref _buffers) <= buffersAtMost)
            {
                return true;
            }

            _ = Interlocked.Decrement(ref _buffers);
        }

        _ = Interlocked.Add(ref _pages, -pages);
        return false;
    }

    public void Return(int pages)
    {
        _ = Interlocked.Add(ref _pages, -pages);
        _ = Interlocked.Decrement(ref _buffers);
    }
}
