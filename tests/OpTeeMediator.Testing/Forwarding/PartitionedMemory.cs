using OpTeeMediator.Forwarding;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Testing.Forwarding;

/// <summary>The memory of one VM on a computer that is divided among VMs: guest memory in blocks that lie anywhere in
/// physical memory.</summary>
public sealed class PartitionedMemory : IGuestMemory, IPhysicalMemory
{
    private readonly PhysicalRam _ram;
    private readonly GuestAddress _start;
    private readonly ulong _blockSize;
    private readonly ulong _shadow;
    private readonly ulong[] _blocks;
    private readonly PinSet _pins = new();

    /// <param name="ram">Physical memory.</param>
    /// <param name="start">Where guest memory begins for the guest.</param>
    /// <param name="blockSize">The size of a block in bytes, a multiple of 4096.</param>
    /// <param name="blocks">Where each block lies physically, in the guest's order.</param>
    /// <param name="shadow">Where the shadow pages lie physically, one behind the other.</param>
    /// <param name="shadowPages">How many there are.</param>
    public PartitionedMemory(PhysicalRam ram, GuestAddress start, ulong blockSize, ReadOnlySpan<ulong> blocks,
        ulong shadow, int shadowPages)
    {
        _ram = ram;
        _start = start;
        _blockSize = blockSize;
        _blocks = blocks.ToArray();
        _shadow = shadow;
        ShadowPages = shadowPages;
    }

    public GuestRange Range => new(_start, (ulong)_blocks.Length * _blockSize);

    public int ShadowPages { get; }

    public int Pins => _pins.Count;

    public Span<byte> GetShadowPage(int index, out PhysicalAddress physical)
    {
        physical = new PhysicalAddress(_shadow + ((ulong)index * GuestPages.PageSize));
        return _ram.At(physical.Value, GuestPages.PageSize);
    }

    public bool TryTranslate(GuestAddress address, out PhysicalAddress physical, out ulong length)
    {
        ulong offset = unchecked(address.Value - _start.Value);
        ulong index = offset / _blockSize;
        ulong block = index < (ulong)_blocks.Length ? Volatile.Read(ref _blocks[index]) : 0;
        physical = new PhysicalAddress(block + (offset % _blockSize));
        length = _blockSize - (offset % _blockSize);
        return block != 0;
    }

    /// <summary>Where a byte of guest memory lies.</summary>
    public ulong PhysicalOf(GuestAddress address) =>
        TryTranslate(address, out PhysicalAddress physical, out _) ? physical.Value
            : throw new ArgumentOutOfRangeException(nameof(address));

    /// <summary>The number of the block that a byte of guest memory is in.</summary>
    public int BlockOf(GuestAddress address) => (int)((address.Value - _start.Value) / _blockSize);

    /// <summary>Whether pages, by their physical addresses, are pinned.</summary>
    public bool ArePinned(ReadOnlySpan<ulong> pages)
    {
        foreach (ulong page in pages)
        {
            int block = Array.FindIndex(_blocks, start => page >= start && page - start < _blockSize);
            if (block < 0
                || !_pins.Overlaps(
                new GuestRange(_start.Add(((ulong)block * _blockSize) + (page - _blocks[block])), GuestPages.PageSize)))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Takes a block away from the guest, as a balloon would; refuses while a page of it is pinned.</summary>
    public bool TryUnmap(int block)
    {
        ulong place = Interlocked.Exchange(ref _blocks[block], 0);
        if (place != 0 && !_pins.Overlaps(new GuestRange(_start.Add((ulong)block * _blockSize), _blockSize)))
        {
            return true;
        }

        Volatile.Write(ref _blocks[block], place);
        return false;
    }

    public bool TryRead(GuestAddress address, Span<byte> destination)
    {
        while (!destination.IsEmpty)
        {
            if (!TryTranslate(address, out PhysicalAddress physical, out ulong length))
            {
                return false;
            }

            int count = (int)Math.Min(length, (ulong)destination.Length);
            _ram.At(physical.Value, count).CopyTo(destination);
            destination = destination[count..];
            address = address.Add((ulong)count);
        }

        return true;
    }

    public bool TryWrite(GuestAddress address, ReadOnlySpan<byte> source)
    {
        if (!IsThere(address, (ulong)source.Length))
        {
            return false;
        }

        while (!source.IsEmpty)
        {
            _ = TryTranslate(address, out PhysicalAddress physical, out ulong length);
            int count = (int)Math.Min(length, (ulong)source.Length);
            source[..count].CopyTo(_ram.At(physical.Value, count));
            source = source[count..];
            address = address.Add((ulong)count);
        }

        return true;
    }

    public bool TryPin(GuestPages pages)
    {
        _pins.Add(pages);
        for (int index = 0; index < pages.Count; index++)
        {
            if (!IsThere(pages[index], GuestPages.PageSize))
            {
                _ = _pins.Remove(pages);
                return false;
            }
        }

        return true;
    }

    public void Unpin(GuestPages pages) => _ = _pins.Remove(pages);

    private bool IsThere(GuestAddress address, ulong length)
    {
        for (ulong done = 0; done < length;)
        {
            if (!address.TryAdd(done, out GuestAddress next) || !TryTranslate(next, out _, out ulong more))
            {
                return false;
            }

            done += Math.Min(more, length - done);
        }

        return true;
    }
}
