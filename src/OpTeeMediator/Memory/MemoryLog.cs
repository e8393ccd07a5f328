using Microsoft.Extensions.Logging;

namespace OpTeeMediator.Memory;

/// <summary>Log messages about the VMM's guest memory. Event ids are stable: 1103, 1105 and 1300.</summary>
internal static partial class MemoryLog
{
    [LoggerMessage(1103, LogLevel.Error,
        "The VMM's IGuestMemory failed to unpin {Pages} pages; they are no longer shared, and may stay pinned. "
            + "Entries like this suppressed before it: {Suppressed}")]
    public static partial void UnpinFailed(this ILogger log, int pages, long suppressed, Exception exception);

    [LoggerMessage(1105, LogLevel.Error,
        "The VMM's IGuestMemory failed to note that {Range} was written; if the VM is being moved, its copy may miss "
            + "that. Entries like this suppressed before it: {Suppressed}")]
    public static partial void TrackingFailed(
        this ILogger log, GuestRange range, long suppressed, Exception exception);

    [LoggerMessage(1300, LogLevel.Error,
        "The VMM's IGuestMemory failed in {Method}; the guest is told that the memory is bad. Entries like this "
            + "suppressed before it: {Suppressed}")]
    public static partial void GuestMemoryFailed(this ILogger log, string method, long suppressed, Exception exception);
}
