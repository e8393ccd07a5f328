using System.Runtime.InteropServices;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Tests.Linux;

/// <summary>Guest memory whose file can be mapped in large pieces only, as one of huge pages.</summary>
internal sealed class CoarseGuestMemory(IFileBackedGuestMemory memory, int granule) : IFileBackedGuestMemory
{
    public int MappingGranule => granule;

    public bool TryGetFile(GuestRange range, out SafeHandle file, out long offset) =>
        memory.TryGetFile(range, out file, out offset);

    public bool TryRead(GuestAddress address, Span<byte> destination) => memory.TryRead(address, destination);

    public bool TryWrite(GuestAddress address, ReadOnlySpan<byte> source) => memory.TryWrite(address, source);

    public bool TryPin(GuestPages pages) => memory.TryPin(pages);

    public void Unpin(GuestPages pages) => memory.Unpin(pages);
}
