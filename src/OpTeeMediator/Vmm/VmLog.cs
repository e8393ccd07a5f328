using Microsoft.Extensions.Logging;

namespace OpTeeMediator.Vmm;

/// <summary>Log messages of a VM's life cycle and of what its VMM supplies.</summary>
/// <remarks>Event ids are stable: 1003, 1006, 1101, 1102, 1200, 1201 and 1203.</remarks>
internal static partial class VmLog
{
    [LoggerMessage(1003, LogLevel.Debug,
        "A driver of the guest ends with {Sessions} sessions, {Buffers} shared buffers and {Calls} calls in flight")]
    public static partial void DriverEnds(this ILogger log, int sessions, int buffers, int calls);

    [LoggerMessage(1006, LogLevel.Information,
        "The guest has an OP-TEE, served by {Tee}. It may reach {Reach}, and hold {Calls} calls, {Sessions} sessions "
            + "and {Buffers} shared buffers with {Pages} pages of 4 KiB at a time. Notifications: {Notifications}")]
    public static partial void GuestServed(
        this ILogger log, string tee, string reach, int calls, int sessions, int buffers, int pages,
        string notifications);

    [LoggerMessage(1101, LogLevel.Error,
        "An SMC 0x{FunctionId:x8} could not be served; this is a defect of the mediator or of the VMM's IGuestMemory")]
    public static partial void CallFailed(this ILogger log, uint functionId, Exception exception);

    [LoggerMessage(1102, LogLevel.Error,
        "The VMM's interrupt line failed; the pulse is repeated. Entries like this suppressed before it: {Suppressed}")]
    public static partial void InterruptFailed(this ILogger log, long suppressed, Exception exception);

    [LoggerMessage(1106, LogLevel.Error,
        "The backend failed at {Operation} of a restored VM: what the VM has at the TEE may be used by both sides of a "
            + "move, or by none")]
    public static partial void OutcomeFailed(this ILogger log, string operation, Exception exception);

    [LoggerMessage(1200, LogLevel.Warning,
        "{Calls} calls did not end within {Deadline}; what they hold is freed when they do")]
    public static partial void CallsOutliveGuest(this ILogger log, int calls, TimeSpan deadline);

    [LoggerMessage(1201, LogLevel.Error,
        "What an earlier driver of the guest left could not be freed. Entries like this suppressed before it: "
            + "{Suppressed}")]
    public static partial void TeardownFailed(this ILogger log, long suppressed, Exception exception);

    [LoggerMessage(1203, LogLevel.Warning,
        "The VM is saved without {Count} calls and sessions that cannot move; where it goes on, their clients get "
            + "TEE_ERROR_TARGET_DEAD. Their applications: {Applications}")]
    public static partial void SavedWithoutAll(this ILogger log, int count, string applications);
}
