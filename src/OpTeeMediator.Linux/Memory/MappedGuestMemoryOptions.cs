using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace OpTeeMediator.Linux.Memory;

/// <summary>What <see cref="MappedGuestMemory"/> cannot see of the memory it is given.</summary>
/// <remarks>Immutable after construction, hence thread-safe.</remarks>
public sealed record MappedGuestMemoryOptions
{
    /// <summary>The memory's name in log entries. Default "guest-ram".</summary>
    public string Name { get; init; } = "guest-ram";

    /// <summary>The smallest piece of a file that can be mapped by itself, in bytes, a power of two: the size of huge
    /// pages if the files are in a hugetlbfs; 0 for the host's page size. Default 0.</summary>
    public int MappingGranule { get; init; }

    /// <summary>Called when a region that was removed, or that was there when the memory was disposed of, is not pinned
    /// any more; not if that was so at once. <see langword="null"/>, the default, for nothing.</summary>
    /// <remarks>It is called on a thread of the pool. An exception is logged.</remarks>
    public Action<MappedMemoryRegion>? RegionReleased { get; init; }

    /// <summary>Where to log. Default nowhere.</summary>
    public ILoggerFactory LoggerFactory { get; init; } = NullLoggerFactory.Instance;

    internal int CheckGranule()
    {
        ArgumentNullException.ThrowIfNull(Name);
        if (MappingGranule != 0 && (MappingGranule < Environment.SystemPageSize || !int.IsPow2(MappingGranule)))
        {
            throw new ArgumentException(
                $"{nameof(MappedGuestMemoryOptions)}.{nameof(MappingGranule)} is {MappingGranule}; "
                    + $"expected 0 or a power of two of at least {Environment.SystemPageSize}.");
        }

        return MappingGranule == 0 ? Environment.SystemPageSize : MappingGranule;
    }
}
