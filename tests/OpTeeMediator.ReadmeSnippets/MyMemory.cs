using OpTeeMediator.Memory;

namespace OpTeeMediator.ReadmeSnippets;

// <snippet>
internal sealed class MyMemory(GuestRange ram) : IGuestMemory
{
    private readonly byte[] _bytes = new byte[ram.Length];

    public bool TryRead(GuestAddress address, Span<byte> destination) =>
        ram.Contains(address, (ulong)destination.Length) && At(address, destination.Length).TryCopyTo(destination);

    public bool TryWrite(GuestAddress address, ReadOnlySpan<byte> source) =>
        ram.Contains(address, (ulong)source.Length) && source.TryCopyTo(At(address, source.Length));

    public bool TryPin(GuestPages pages) => pages.IsWithin([ram]); // this RAM stays as long as the VM

    public void Unpin(GuestPages pages) { }

    private Span<byte> At(GuestAddress address, int length) =>
        _bytes.AsSpan((int)(address.Value - ram.Start.Value), length);
}
// </snippet>
