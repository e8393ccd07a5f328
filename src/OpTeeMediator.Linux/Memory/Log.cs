using Microsoft.Extensions.Logging;
using OpTeeMediator.Linux.Diagnostics;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Linux.Memory;

/// <summary>What guest memory logs, with event identifiers from 2000 to 2099.</summary>
/// <remarks>Identifiers are stable: none is given twice, none changes its meaning.</remarks>
internal static partial class Log
{
    [LoggerMessage(2000, LogLevel.Warning,
        "Guest memory {Name} was disposed of with {Pins} buffers still shared with a TEE; {Regions} regions stay in use"
            + " until the last of them is released.")]
    internal static partial void UnmapDeferred(this ILogger logger, string name, int regions, int pins);

    [LoggerMessage(2001, LogLevel.Information,
        "Region {Range} was removed from guest memory {Name} while pages of it are shared with a TEE; its memory is"
            + " freed with the last of them.")]
    internal static partial void RegionRemovalDeferred(this ILogger logger, GuestRange range, string name);

    [LoggerMessage(2002, LogLevel.Error,
        "The memory of removed region {Range} of {Name} could not be freed ({Error}); it stays mapped until the guest"
            + " memory is disposed of.")]
    internal static partial void RegionNotFreed(this ILogger logger, GuestRange range, string name, ErrorName error);

    [LoggerMessage(2003, LogLevel.Error,
        "RegionReleased has thrown for region {Range} of guest memory {Name}; the region is released all the same.")]
    internal static partial void RegionReleasedFailed(
        this ILogger logger, GuestRange range, string name, Exception exception);
}
