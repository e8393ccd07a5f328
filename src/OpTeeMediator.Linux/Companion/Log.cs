using Microsoft.Extensions.Logging;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Linux.Companion;

/// <summary>What <see cref="OpTeeCompanion"/> logs, with event identifiers from 2300 to 2399.</summary>
/// <remarks>Identifiers are stable: none is given twice, none changes its meaning.</remarks>
internal static partial class Log
{
    [LoggerMessage(2300, LogLevel.Information,
        "The OP-TEE of {Name} has started in {Milliseconds} ms, with {Cores} cores.")]
    internal static partial void CompanionStarted(this ILogger logger, string name, long milliseconds, int cores);

    [LoggerMessage(2301, LogLevel.Error,
        "The OP-TEE of {Name} has failed: {Failure}. All calls of its guest fail; another one takes its place. Entries"
            + " like this suppressed before it: {Suppressed}.")]
    internal static partial void CompanionFailed(this ILogger logger, string name, TeeFailure failure, long suppressed);

    [LoggerMessage(2302, LogLevel.Warning,
        "Another OP-TEE has replaced the one of {Name}, in {Milliseconds} ms. It serves when the"
            + " guest's driver begins again: unbind and bind it, and start the supplicant again.")]
    internal static partial void CompanionReplaced(this ILogger logger, string name, long milliseconds);

    [LoggerMessage(2303, LogLevel.Error,
        "No other OP-TEE could replace the one of {Name}; its guest is without until the VM is reset.")]
    internal static partial void ReplacementFailed(this ILogger logger, string name, Exception exception);

    [LoggerMessage(2304, LogLevel.Debug,
        "Core {Core} of {Name}'s OP-TEE reaches for {Address}, where nothing is (write: {IsWrite}).")]
    internal static partial void CompanionReachesForNothing(
        this ILogger logger, string name, int core, GuestAddress address, bool isWrite);

    [LoggerMessage(EventId = 2305, Message = "{Name}: {Line}")]
    internal static partial void CompanionSays(this ILogger logger, LogLevel level, string name, string line);

    [LoggerMessage(2306, LogLevel.Error,
        "Call 0x{FunctionId:x8} of {Name} failed on the host; the guest gets NOT_SUPPORTED. Entries like this"
            + " suppressed before it: {Suppressed}.")]
    internal static partial void CompanionCallFailed(
        this ILogger logger, string name, uint functionId, long suppressed, Exception exception);

    // 2307 was a notification that the VMM's interrupt line failed to deliver; the core logs it (1102) and repeats it.
    [LoggerMessage(2308, LogLevel.Error,
        "A thread that watches over the OP-TEE of {Name} has met an error; it continues. Entries like this suppressed"
            + " before it: {Suppressed}.")]
    internal static partial void SupervisionFailed(
        this ILogger logger, string name, long suppressed, Exception exception);

    [LoggerMessage(2309, LogLevel.Debug,
        "{Instructions} instructions of {Name}'s OP-TEE use the physical timer instead of the secure one.")]
    internal static partial void SecureTimerReplaced(this ILogger logger, string name, int instructions);

    [LoggerMessage(2310, LogLevel.Error,
        "What the ended OP-TEE of {Name} had could not be freed, or one of its cores not be interrupted.")]
    internal static partial void CompanionNotEnded(this ILogger logger, string name, Exception exception);

    [LoggerMessage(2311, LogLevel.Debug, "The VM of {Name}'s OP-TEE has mapped {Regions} regions of guest RAM.")]
    internal static partial void CompanionMapped(this ILogger logger, string name, int regions);

    [LoggerMessage(2312, LogLevel.Information, "The OP-TEE of {Name} was restored in {Milliseconds} ms.")]
    internal static partial void CompanionRestored(this ILogger logger, string name, long milliseconds);

    [LoggerMessage(2313, LogLevel.Information,
        "{Name} has an OP-TEE of its own. It may reach every application of its image, and no other VM's; {Cores} vCPUs"
            + " at a time, for {Milliseconds} ms each. Notifications: {Notifications}.")]
    internal static partial void GuestServed(
        this ILogger logger, string name, int cores, double milliseconds, string notifications);
}
