using Microsoft.Extensions.Logging;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Linux.Diagnostics;

/// <summary>Every message that this library logs, in the order of the event identifiers.</summary>
/// <remarks>
/// <code>
/// 2000–2099 guest memory
/// 2100–2199 KVM
/// 2200–2299 the host's TEE (LinuxTeeBackend)
/// </code>
/// Identifiers are stable: none is given twice, none changes its meaning.
/// </remarks>
internal static partial class Log
{
    [LoggerMessage(EventId = 2000, Level = LogLevel.Warning, Message = "Guest memory was disposed of with {Pins} buffers still shared with a TEE; {Regions} regions stay mapped until the last of them is let go.")]
    internal static partial void UnmapDeferred(this ILogger logger, int regions, int pins);

    [LoggerMessage(EventId = 2001, Level = LogLevel.Information, Message = "Region {Range} was removed from guest memory while pages of it are shared with a TEE; its memory is freed with the last of them.")]
    internal static partial void RegionRemovalDeferred(this ILogger logger, GuestRange range);

    [LoggerMessage(EventId = 2002, Level = LogLevel.Error, Message = "The memory of removed region {Range} could not be freed ({Error}); it stays mapped until the guest memory is disposed of.")]
    internal static partial void RegionNotFreed(this ILogger logger, GuestRange range, string error);
}
