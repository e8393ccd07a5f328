using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;

namespace OpTeeMediator.Calls;

/// <summary>Log messages of mediated calls and of the TEE backend.</summary>
/// <remarks>Event ids are stable: 1001, 1004, 1100, 1104 and 1202.</remarks>
internal static partial class CallLog
{
    [LoggerMessage(1001, LogLevel.Debug, "Trusted application {Application} is not among those this VM may reach")]
    public static partial void ApplicationRefused(this ILogger log, Guid application);

    [LoggerMessage(1004, LogLevel.Debug, "The guest's answer to RPC {Command} was refused: {Reason}")]
    public static partial void RpcAnswerRefused(this ILogger log, uint command, string reason);

    [LoggerMessage(1100, LogLevel.Error,
        "The TEE backend failed in {Operation}; the guest gets TEE_ERROR_COMMUNICATION. Entries like this suppressed "
            + "before it: {Suppressed}")]
    public static partial void BackendFailed(
        this ILogger log, TeeOperation operation, long suppressed, Exception exception);

    [LoggerMessage(1104, LogLevel.Error,
        "The host cannot start a thread for a call of the TEE; the guest gets TEE_ERROR_OUT_OF_MEMORY. Look at the "
            + "limits of threads (ulimit -u, the cgroup's pids.max) and memory. Entries like this suppressed before "
            + "it: {Suppressed}")]
    public static partial void WorkerMissing(this ILogger log, long suppressed, Exception exception);

    [LoggerMessage(1202, LogLevel.Error,
        "The TEE backend could not be reset with its VM; what its applications keep may be from before the reset")]
    public static partial void BackendResetFailed(this ILogger log, Exception exception);
}
