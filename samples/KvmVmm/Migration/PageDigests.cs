using System.Collections.Immutable;
using System.Security.Cryptography;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;

namespace KvmVmm.Migration;

/// <summary>Compares the memory of source and destination page by page, while neither runs (--check-pages).</summary>
internal static class PageDigests
{
    private const int PageSize = 4096;

    /// <summary>Writes the SHA-256 of each page; zeros for one that is zero.</summary>
    /// <param name="memory">The memory.</param>
    /// <param name="target">Where they are written.</param>
    public static void Write(MappedGuestMemory memory, Stream target)
    {
        Span<byte> digest = stackalloc byte[SHA256.HashSizeInBytes];
        foreach (GuestAddress page in PagesOf(memory))
        {
            Compute(memory, page, digest);
            target.Write(digest);
        }
    }

    /// <summary>Compares them.</summary>
    /// <param name="memory">The memory.</param>
    /// <param name="source">What <see cref="Write"/> has written.</param>
    /// <returns>The number of pages, all of which are equal.</returns>
    /// <exception cref="InvalidDataException">Some are not; the message has how many, and the first one.</exception>
    public static int Compare(MappedGuestMemory memory, Stream source)
    {
        Span<byte> digest = stackalloc byte[SHA256.HashSizeInBytes];
        Span<byte> expected = stackalloc byte[SHA256.HashSizeInBytes];
        int pages = 0;
        int different = 0;
        GuestAddress first = default;
        foreach (GuestAddress page in PagesOf(memory))
        {
            Compute(memory, page, digest);
            if (source.ReadAtLeast(expected, expected.Length, throwOnEndOfStream: false) != expected.Length)
            {
                throw new InvalidDataException("The digests of the source's pages end too early.");
            }

            pages++;
            if (!digest.SequenceEqual(expected))
            {
                first = different++ == 0 ? page : first;
            }
        }

        return different == 0
            ? pages
            : throw new InvalidDataException(
                $"{different} of {pages} pages are not those of the source, the first one at {first}.");
    }

    /// <summary>Compares the digest of a TEE's own memory.</summary>
    /// <param name="found">The destination's; empty for a TEE that has none in the VMM.</param>
    /// <param name="source">Has the source's.</param>
    /// <exception cref="InvalidDataException">They differ.</exception>
    public static void CompareTee(byte[] found, Stream source)
    {
        byte[] expected = new byte[found.Length];
        if (source.ReadAtLeast(expected, expected.Length, throwOnEndOfStream: false) != expected.Length
            || !found.AsSpan().SequenceEqual(expected))
        {
            throw new InvalidDataException("The memory of its OP-TEE is not that of the source.");
        }
    }

    private static IEnumerable<GuestAddress> PagesOf(MappedGuestMemory memory)
    {
        ImmutableArray<MappedMemoryRegion> regions = memory.Regions;
        foreach (MappedMemoryRegion region in regions)
        {
            for (ulong offset = 0; offset < region.Range.Length; offset += PageSize)
            {
                yield return region.Range.Start.Add(offset);
            }
        }
    }

    private static void Compute(MappedGuestMemory memory, GuestAddress page, Span<byte> digest)
    {
        if (!memory.TryGetWindow(page, PageSize, out Span<byte> content))
        {
            throw new InvalidDataException($"There is no page at {page}.");
        }

        // Most of a guest's memory is, and zeros are no page's SHA-256.
        if (!content.ContainsAnyExcept((byte)0))
        {
            digest.Clear();
            return;
        }

        _ = SHA256.HashData(content, digest);
    }
}
