using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace OpTeeMediator.Benchmarks.Scenarios;

/// <summary>The reference of most measurements: a copy of 4 KiB, from one page to another.</summary>
/// <remarks>
/// Both pages begin at the same offset of their pages, at a distance of eight: a copy whose ends collide in
/// the low 12 bits of their addresses is several times slower, and without control that would be decided by chance.
/// </remarks>
public sealed unsafe class PageCopy : Scenario
{
    private const int PageSize = 4096;
    private const int Distance = 8 * PageSize;

    private readonly byte* _pages = (byte*)NativeMemory.AlignedAlloc(2 * Distance, PageSize);

    public PageCopy() => NativeMemory.Clear(_pages, 2 * Distance);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void Run(int operations)
    {
        for (int count = 0; count < operations; count++)
        {
            // The destination is 64 bytes off the source's offset, so that loads never wait for stores
            // of the same low address bits.
            new ReadOnlySpan<byte>(_pages, PageSize).CopyTo(new Span<byte>(_pages + Distance + 64, PageSize));
        }
    }

    protected override void Dispose(bool disposing)
    {
        NativeMemory.AlignedFree(_pages);
        base.Dispose(disposing);
    }
}
