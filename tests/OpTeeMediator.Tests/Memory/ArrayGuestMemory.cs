using OpTeeMediator.Memory;

namespace OpTeeMediator.Tests.Memory;

/// <summary>The least a VMM can do: one array, nothing optional.</summary>
internal sealed class ArrayGuestMemory(ulong start, int length) : IGuestMemory
{
    private readonly byte[] _bytes = new byte[length];
    private readonly GuestRange _range = new(start, (ulong)length);

    public bool TryRead(GuestAddress address, Span<byte> destination) =>
        _range.Contains(address, (ulong)destination.Length)
            && _bytes.AsSpan((int)(address.Value - start), destination.Length).TryCopyTo(destination);

    public bool TryWrite(GuestAddress address, ReadOnlySpan<byte> source) =>
        _range.Contains(address, (ulong)source.Length)
            && source.TryCopyTo(_bytes.AsSpan((int)(address.Value - start), source.Length));

    public bool TryPin(GuestPages pages) => pages.IsWithin([_range]);

    public void Unpin(GuestPages pages)
    {
    }
}
