using OpTeeMediator.Memory;

namespace OpTeeMediator.InterleavingTests;

/// <summary>Guest memory of one array that knows which buffers are pinned. Thread-safe.</summary>
internal sealed class PinnedArrayMemory(ulong start, int length) : IGuestMemory
{
    private readonly byte[] _bytes = new byte[length];
    private readonly GuestRange _range = new(start, (ulong)length);
    private readonly Lock _lock = new();
    private readonly List<GuestPages> _pinned = [];
    private int _strays;

    public int Pinned
    {
        get
        {
            lock (_lock)
            {
                return _pinned.Count;
            }
        }
    }

    /// <summary>How often something was unpinned that was not pinned, or pinned twice.</summary>
    public int Strays => Volatile.Read(ref _strays);

    public bool TryRead(GuestAddress address, Span<byte> destination) =>
        _range.Contains(address, (ulong)destination.Length)
            && _bytes.AsSpan((int)(address.Value - start), destination.Length).TryCopyTo(destination);

    public bool TryWrite(GuestAddress address, ReadOnlySpan<byte> source) =>
        _range.Contains(address, (ulong)source.Length)
            && source.TryCopyTo(_bytes.AsSpan((int)(address.Value - start), source.Length));

    public bool TryPin(GuestPages pages)
    {
        if (!pages.IsWithin([_range]))
        {
            return false;
        }

        lock (_lock)
        {
            _strays += _pinned.Contains(pages) ? 1 : 0;
            _pinned.Add(pages);
        }

        return true;
    }

    public void Unpin(GuestPages pages)
    {
        lock (_lock)
        {
            _strays += _pinned.Remove(pages) ? 0 : 1;
        }
    }
}
