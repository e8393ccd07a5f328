using OpTeeMediator.Memory;

namespace OpTeeMediator.Testing;

/// <summary>Guest memory without any optional capability, as a VMM's first implementation may be.</summary>
public sealed class PlainGuestMemory(IGuestMemory inner) : IGuestMemory
{
    public bool TryRead(GuestAddress address, Span<byte> destination) => inner.TryRead(address, destination);

    public bool TryWrite(GuestAddress address, ReadOnlySpan<byte> source) => inner.TryWrite(address, source);

    public bool TryPin(GuestPages pages) => inner.TryPin(pages);

    public void Unpin(GuestPages pages) => inner.Unpin(pages);
}
