using OpTeeMediator.Memory;

namespace MinimalVmm.Machine;

/// <summary>Guest RAM in an array: the four methods that the library needs.</summary>
internal sealed class ArrayGuestMemory(GuestRange range) : IGuestMemory
{
    private readonly byte[] _bytes = new byte[range.Length];

    /// <inheritdoc/>
    public bool TryRead(GuestAddress address, Span<byte> destination) =>
        Find(address, destination.Length) is { IsEmpty: false } source && source.TryCopyTo(destination);

    /// <inheritdoc/>
    public bool TryWrite(GuestAddress address, ReadOnlySpan<byte> source) =>
        Find(address, source.Length) is { IsEmpty: false } destination && source.TryCopyTo(destination);

    /// <summary>An array does not go away; only the addresses are checked.</summary>
    public bool TryPin(GuestPages pages) => pages.IsWithin([range]);

    /// <inheritdoc/>
    public void Unpin(GuestPages pages)
    {
    }

    private Span<byte> Find(GuestAddress address, int length) => range.Contains(address, (ulong)length)
        ? _bytes.AsSpan((int)(address.Value - range.Start.Value), length)
        : default;
}
