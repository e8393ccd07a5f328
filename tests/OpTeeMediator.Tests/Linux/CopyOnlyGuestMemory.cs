using OpTeeMediator.Memory;

namespace OpTeeMediator.Tests.Linux;

/// <summary>Guest memory of a VMM that offers neither a mapping nor a file.</summary>
internal sealed class CopyOnlyGuestMemory(IGuestMemory memory) : IGuestMemory
{
    public bool TryRead(GuestAddress address, Span<byte> destination) => memory.TryRead(address, destination);

    public bool TryWrite(GuestAddress address, ReadOnlySpan<byte> source) => memory.TryWrite(address, source);

    public bool TryPin(GuestPages pages) => memory.TryPin(pages);

    public void Unpin(GuestPages pages) => memory.Unpin(pages);
}
