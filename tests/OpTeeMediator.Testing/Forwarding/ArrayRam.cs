namespace OpTeeMediator.Testing.Forwarding;

/// <summary>Physical memory that is an array.</summary>
public sealed class ArrayRam(ulong start, int length) : PhysicalRam(start, length)
{
    // Pinned, so that words in it stay aligned.
    private readonly byte[] _bytes = GC.AllocateArray<byte>(length, pinned: true);

    public override Span<byte> Bytes => _bytes;
}
