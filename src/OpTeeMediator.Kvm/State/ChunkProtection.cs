namespace OpTeeMediator.Kvm.State;

/// <summary>Protects the pieces into which a saved state is cut, in their order.</summary>
/// <remarks>Not thread-safe.</remarks>
internal abstract class ChunkProtection : IDisposable
{
    internal const int TagSize = 16;

    /// <summary>Protects the next chunk in place and makes its tag.</summary>
    internal abstract void Protect(ReadOnlySpan<byte> header, Span<byte> content, Span<byte> tag);

    /// <summary>Checks the next chunk, and makes it readable in place.</summary>
    internal abstract bool TryOpen(ReadOnlySpan<byte> header, Span<byte> content, ReadOnlySpan<byte> tag);

    public abstract void Dispose();
}
