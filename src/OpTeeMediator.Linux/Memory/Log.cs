using Microsoft.Extensions.Logging;
using OpTeeMediator.Linux.Diagnostics;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Linux.Memory;

/// <summary>What guest memory logs, with event identifiers from 2000 to 2099.</summary>
/// <remarks>Identifiers are stable: none is given twice, none changes its meaning.</remarks>
internal static partial class Log
{
    [LoggerMessage(EventId = 2000, Level = LogLevel.Warning, Message = "Guest memory {Name} was disposed of with {Pins} buffers still shared with a TEE; {Regions} regions stay mapped until the last of them is let go.")]
    internal static partial void UnmapDeferred(this ILogger logger, string name, int regions, int pins);

    [LoggerMessage(EventId = 2001, Level = LogLevel.Information, Message = "Region {Range} was removed from guest memory {Name} while pages of it are shared with a TEE; its memory is freed with the last of them.")]
    internal static partial void RegionRemovalDeferred(this ILogger logger, GuestRange range, string name);

    [LoggerMessage(EventId = 2002, Level = LogLevel.Error, Message = "The memory of removed region {Range} of {Name} could not be freed ({Error}); it stays mapped until the guest memory is disposed of.")]
    internal static partial void RegionNotFreed(this ILogger logger, GuestRange range, string name, ErrorName error);
}
