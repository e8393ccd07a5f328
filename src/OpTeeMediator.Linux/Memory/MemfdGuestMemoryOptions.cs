using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace OpTeeMediator.Linux.Memory;

/// <summary>How <see cref="MemfdGuestMemory"/> makes its memory.</summary>
/// <remarks>Immutable after construction, hence thread-safe.</remarks>
public sealed record MemfdGuestMemoryOptions
{
    /// <summary>The size of huge pages in bytes (2 MiB, say), a power of two. Default 0: ordinary pages.</summary>
    /// <remarks>Huge pages are reserved at creation (<c>/proc/sys/vm/nr_hugepages</c>) and become
    /// <see cref="MappedGuestMemory.MappingGranule"/>, so that buffers of scattered small pages cannot be shared with
    /// the host's TEE without a copy.</remarks>
    public int HugePageSize { get; init; }

    /// <summary>The name that <c>/proc/PID/maps</c> and log entries show: at most 249 bytes as UTF-8, none of them NUL.
    /// Default "guest-ram".</summary>
    public string Name { get; init; } = "guest-ram";

    /// <summary>Where to log. Default nowhere.</summary>
    public ILoggerFactory LoggerFactory { get; init; } = NullLoggerFactory.Instance;
}
