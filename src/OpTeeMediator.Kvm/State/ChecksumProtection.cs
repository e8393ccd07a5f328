using System.Security.Cryptography;

namespace OpTeeMediator.Kvm.State;

/// <summary>The first bytes of SHA-256 of all that comes before: tells of damage, not of malice.</summary>
internal sealed class ChecksumProtection : ChunkProtection
{
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    private readonly byte[] _previous = new byte[SHA256.HashSizeInBytes];

    internal ChecksumProtection(ReadOnlySpan<byte> header) => _ = SHA256.HashData(header, _previous);

    internal override void Protect(ReadOnlySpan<byte> header, Span<byte> content, Span<byte> tag)
    {
        Advance(header, content);
        _previous.AsSpan(0, TagSize).CopyTo(tag);
    }

    internal override bool TryOpen(ReadOnlySpan<byte> header, Span<byte> content, ReadOnlySpan<byte> tag)
    {
        Advance(header, content);
        return tag.SequenceEqual(_previous.AsSpan(0, TagSize));
    }

    public override void Dispose() => _hash.Dispose();

    private void Advance(ReadOnlySpan<byte> header, ReadOnlySpan<byte> content)
    {
        _hash.AppendData(_previous);
        _hash.AppendData(header);
        _hash.AppendData(content);
        _ = _hash.GetHashAndReset(_previous);
    }
}
