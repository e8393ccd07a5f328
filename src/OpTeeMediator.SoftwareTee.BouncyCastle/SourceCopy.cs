using System.Buffers;
using System.Security.Cryptography;

namespace OpTeeMediator.SoftwareTee.BouncyCastle;

/// <summary>A source, or a copy of it where it overlaps with its destination.</summary>
/// <remarks>An operation that holds bytes back writes before it has read: it would read what it has written.</remarks>
internal readonly ref struct SourceCopy
{
    private readonly byte[]? _copy;

    public SourceCopy(ReadOnlySpan<byte> source, ReadOnlySpan<byte> destination)
    {
        Span = source;
        if (source.Overlaps(destination))
        {
            _copy = ArrayPool<byte>.Shared.Rent(source.Length);
            source.CopyTo(_copy);
            Span = _copy.AsSpan(0, source.Length);
        }
    }

    public ReadOnlySpan<byte> Span { get; }

    public void Dispose()
    {
        if (_copy is not null)
        {
            CryptographicOperations.ZeroMemory(_copy.AsSpan(0, Span.Length));
            ArrayPool<byte>.Shared.Return(_copy);
        }
    }
}
