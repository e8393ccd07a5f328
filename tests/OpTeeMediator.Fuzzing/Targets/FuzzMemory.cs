using OpTeeMediator.Memory;

namespace OpTeeMediator.Fuzzing.Targets;

/// <summary>Guest memory that counts its pins: two regions that follow each other, so that ranges cross.</summary>
internal sealed class FuzzMemory : IMappedGuestMemory
{
    /// <summary>Where guest RAM begins.</summary>
    public const ulong Start = 0x4000_0000;

    /// <summary>How many pages it has.</summary>
    public const int Pages = 64;

    private const int Length = Pages * GuestPages.PageSize;

    // Pinned, so that its host address stays.
    private readonly byte[] _bytes = GC.AllocateArray<byte>(Length, pinned: true);
    private readonly GuestRange[] _regions =
        [new(Start, Length / 2), new(Start + (Length / 2), Length / 2)];

    /// <summary>What is pinned now.</summary>
    public PinSet Pinned { get; } = new();

    /// <summary>Where a page lies in guest memory.</summary>
    public static ulong Page(int index) => Start + ((ulong)index * GuestPages.PageSize);

    /// <summary>The bytes of a page.</summary>
    public Span<byte> At(int page) => _bytes.AsSpan(page * GuestPages.PageSize, GuestPages.PageSize);

    public bool TryRead(GuestAddress address, Span<byte> destination) =>
        TryFind(address, destination.Length, out Span<byte> bytes) && bytes.TryCopyTo(destination);

    public bool TryWrite(GuestAddress address, ReadOnlySpan<byte> source) =>
        TryFind(address, source.Length, out Span<byte> bytes) && source.TryCopyTo(bytes);

    public bool TryPin(GuestPages pages)
    {
        if (!pages.IsWithin(_regions))
        {
            return false;
        }

        Pinned.Add(pages);
        return true;
    }

    public void Unpin(GuestPages pages) => _ = Pinned.Remove(pages);

    public bool TryGetWindow(GuestAddress address, int length, out Span<byte> window) =>
        TryFind(address, length, out window);

    public unsafe bool TryGetHostAddress(GuestRange range, out nint hostAddress)
    {
        bool isThere = range.Length <= Length && TryFind(range.Start, (int)range.Length, out _);
        hostAddress = isThere
            ? (nint)System.Runtime.CompilerServices.Unsafe.AsPointer(ref _bytes[(int)(range.Start.Value - Start)])
            : 0;
        return isThere;
    }

    private bool TryFind(GuestAddress address, int length, out Span<byte> bytes)
    {
        ulong offset = unchecked(address.Value - Start);
        bool isThere = offset <= Length && (ulong)length <= Length - offset;
        bytes = isThere ? _bytes.AsSpan((int)offset, length) : default;
        return isThere;
    }
}
