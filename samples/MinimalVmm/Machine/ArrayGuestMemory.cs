using OpTeeMediator.Memory;

namespace MinimalVmm.Machine;

/// <summary>Guest RAM that is an array: all that the library needs of a guest's memory.</summary>
internal sealed class ArrayGuestMemory(GuestRange range) : IGuestMemory
{
    private readonly byte[] _bytes = new byte[range.Length];

    /// <inheritdoc/>
    public bool TryRead(GuestAddress address, Span<byte> destination) =>
        TryGetWindow(address, destination.Length, out Span<byte> window) && window.TryCopyTo(destination);

    /// <inheritdoc/>
    public bool TryWrite(GuestAddress address, ReadOnlySpan<byte> source) =>
        TryGetWindow(address, source.Length, out Span<byte> window) && source.TryCopyTo(window);

    /// <summary>The memory stays where it is: only the addresses are checked.</summary>
    public bool TryPin(GuestPages pages) => pages.IsWithin([range]);

    /// <inheritdoc/>
    public void Unpin(GuestPages pages)
    {
    }

    /// <summary>The live memory.</summary>
    public bool TryGetWindow(GuestAddress address, int length, out Span<byte> window)
    {
        bool isRam = range.Contains(address, (ulong)length);
        window = isRam ? _bytes.AsSpan((int)(address.Value - range.Start.Value), length) : [];
        return isRam;
    }
}
