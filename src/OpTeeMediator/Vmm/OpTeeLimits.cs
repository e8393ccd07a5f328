using OpTeeMediator.Diagnostics;

namespace OpTeeMediator.Vmm;

/// <summary>What one VM may hold at a time. A guest that asks for more gets the protocol's own error.</summary>
/// <remarks>Immutable after construction, hence thread-safe.</remarks>
public sealed record OpTeeLimits
{
    /// <summary>Yielding calls in flight: 1 to 64. Default 8. The guest is told this number of TEE threads.</summary>
    /// <remarks>Each may cost a thread, if the backend blocks. OP-TEE has 2 to 4 per core.</remarks>
    public int Calls { get; init; } = 8;

    /// <summary>Open sessions: 1 to 65535. Default 256.</summary>
    /// <remarks>A session costs what its trusted application keeps; OP-TEE's limit is the TEE's heap.</remarks>
    public int Sessions { get; init; } = 256;

    /// <summary>Registered buffers: 1 to 65536. Default 4096.</summary>
    /// <remarks>Sizes the table of buffers, which is allocated at once: 16 bytes for each.</remarks>
    public int Buffers { get; init; } = 4096;

    /// <summary>Pages of 4 KiB in one buffer: 128 to 1048576. Default 4096 (16 MiB).</summary>
    /// <remarks>GlobalPlatform asks for 512 KiB at least; clients of other mediators ask for 2 MiB and more.</remarks>
    public int PagesPerBuffer { get; init; } = 4096;

    /// <summary>Pages of 4 KiB in all: <see cref="PagesPerBuffer"/> to 1073741823. Default 16384 (64 MiB).</summary>
    /// <remarks>Bounds the guest memory that is pinned, and the host memory for page lists: 8 bytes for each.</remarks>
    public int Pages { get; init; } = 16384;

    internal void Validate()
    {
        OptionRange.Check(this, Calls, 1, 64);
        OptionRange.Check(this, Sessions, 1, 65535);
        OptionRange.Check(this, Buffers, 1, 65536);
        OptionRange.Check(this, PagesPerBuffer, 128, 1 << 20);
        OptionRange.Check(this, Pages, PagesPerBuffer, int.MaxValue / 2);
    }
}
