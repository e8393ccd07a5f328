using OpTeeMediator.Memory;

namespace OpTeeMediator.ExplorationTests.Machines;

/// <summary>Guest memory of a few pages that knows which of them are pinned.</summary>
internal sealed class ExploredMemory : IGuestMemory
{
    public const ulong Start = 0x4000_0000;
    public const int Pages = 16;

    private readonly byte[] _bytes;
    private readonly List<GuestPages> _pinned = [];

    public ExploredMemory() => _bytes = new byte[Pages * GuestPages.PageSize];

    /// <summary>The same pages, in another process.</summary>
    public ExploredMemory(ExploredMemory memory) => _bytes = memory._bytes;

    public int Pinned => _pinned.Count;

    public bool TryRead(GuestAddress address, Span<byte> destination) =>
        _bytes.AsSpan((int)(address.Value - Start), destination.Length).TryCopyTo(destination);

    public bool TryWrite(GuestAddress address, ReadOnlySpan<byte> source) =>
        source.TryCopyTo(_bytes.AsSpan((int)(address.Value - Start), source.Length));

    public bool TryPin(GuestPages pages)
    {
        if (_pinned.Contains(pages))
        {
            Scheduling.Explorer.Fail("A buffer is pinned twice.");
        }

        _pinned.Add(pages);
        return true;
    }

    public void Unpin(GuestPages pages)
    {
        if (!_pinned.Remove(pages))
        {
            Scheduling.Explorer.Fail("A buffer is unpinned that is not pinned.");
        }
    }
}
