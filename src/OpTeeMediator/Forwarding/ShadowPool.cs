using System.Runtime.InteropServices;
using OpTeeMediator.Protocol;

namespace OpTeeMediator.Forwarding;

/// <summary>The shadow pages of a VM: which are free, and chains of those that are not.</summary>
/// <remarks>Thread-safe, except that a page's content belongs to who has taken it.</remarks>
internal sealed class ShadowPool
{
    private const int None = -1;

    private readonly NonThrowingPhysicalMemory _memory;
    private readonly Lock _lock = new();

    // Of a free page the next free one, of a taken one the next of its chain.
    private readonly int[] _next;
    private int _free;
    private int _count;

    public ShadowPool(NonThrowingPhysicalMemory memory)
    {
        _memory = memory;
        _next = new int[memory.ShadowPages];
        for (int index = 0; index < _next.Length; index++)
        {
            _next[index] = index + 1;
        }

        _next[^1] = None;
        _count = _next.Length;
    }

    /// <summary>How many pages the page list of a buffer takes.</summary>
    public static int ListPages(int pages) =>
        (pages + OpTeeMessage.AddressesPerListPage - 1) / OpTeeMessage.AddressesPerListPage;

    public int FreePages => Volatile.Read(ref _count);

    /// <summary>Takes a chain of pages, if there are enough; <see cref="Next"/> leads on from the first.</summary>
    public bool TryTake(int count, out int first)
    {
        lock (_lock)
        {
            first = _free;
            if (count > _count)
            {
                return false;
            }

            int last = first;
            for (int index = 1; index < count; index++)
            {
                last = _next[last];
            }

            _free = _next[last];
            _next[last] = None;
            _count -= count;
            return true;
        }
    }

    public void Return(int first)
    {
        lock (_lock)
        {
            int last = first;
            int count = 1;
            while (_next[last] != None)
            {
                last = _next[last];
                count++;
            }

            _next[last] = _free;
            _free = first;
            _count += count;
        }
    }

    public int Next(int page) => _next[page];

    public bool TryGetBytes(int page, out Span<byte> bytes) => _memory.TryGetShadowPage(page, out bytes);

    public bool TryGetWords(int page, out Span<ulong> words)
    {
        bool isFound = TryGetBytes(page, out Span<byte> bytes);
        words = MemoryMarshal.Cast<byte, ulong>(bytes);
        return isFound;
    }

    public PhysicalAddress AddressOf(int page) => _memory.AddressOfShadowPage(page);
}
