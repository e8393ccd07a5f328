namespace OpTeeMediator.Guests;

/// <summary>What one VM may hold at a time. A guest that asks for more is refused with the protocol's own error.</summary>
/// <remarks>Immutable after construction, hence thread-safe.</remarks>
public sealed record OpTeeLimits
{
    /// <summary>Yielding calls in flight, 1–64; the guest is told this number of TEE threads. Default 8.</summary>
    /// <remarks>Each costs a few hundred bytes and, with a backend that blocks, a thread. OP-TEE's own builds have 2 to 4 per core.</remarks>
    public int Calls { get; init; } = 8;

    /// <summary>Open sessions, 1–65535. Default 256.</summary>
    /// <remarks>A session costs what its trusted application keeps; OP-TEE's limit is the TEE's heap.</remarks>
    public int Sessions { get; init; } = 256;

    /// <summary>Registered buffers, 1–65536. Default 4096.</summary>
    /// <remarks>Sizes the table of buffers, which is allocated at once: 16 bytes for each.</remarks>
    public int Buffers { get; init; } = 4096;

    /// <summary>Pages of 4 KiB in one buffer, 128–1048576. Default 4096 (16 MiB).</summary>
    /// <remarks>GlobalPlatform asks for 512 KiB at least; clients of other mediators ask for 2 MiB and more.</remarks>
    public int PagesPerBuffer { get; init; } = 4096;

    /// <summary>Pages of 4 KiB in all buffers together, at least <see cref="PagesPerBuffer"/>. Default 16384 (64 MiB).</summary>
    /// <remarks>Bounds the guest memory that is pinned, and the host memory for page lists: 8 bytes for each.</remarks>
    public int Pages { get; init; } = 16384;

    internal void Validate()
    {
        ThrowIfOutside(Calls, 1, 64, nameof(Calls));
        ThrowIfOutside(Sessions, 1, 65535, nameof(Sessions));
        ThrowIfOutside(Buffers, 1, 65536, nameof(Buffers));
        ThrowIfOutside(PagesPerBuffer, 128, 1 << 20, nameof(PagesPerBuffer));
        ThrowIfOutside(Pages, PagesPerBuffer, int.MaxValue / 2, nameof(Pages));
    }

    private static void ThrowIfOutside(int value, int lowest, int highest, string name)
    {
        if (value < lowest || value > highest)
        {
            throw new ArgumentOutOfRangeException(name, value, $"{nameof(OpTeeLimits)}.{name} must be {lowest} to {highest}.");
        }
    }
}
