using Microsoft.Extensions.Logging;

namespace OpTeeMediator.Remote.Workers;

/// <summary>What a server logs of worker processes, with event identifiers from 2660 to 2679.</summary>
/// <remarks>Identifiers are stable: none is given twice, none changes its meaning.</remarks>
internal static partial class Log
{
    [LoggerMessage(
        EventId = 2660, Level = LogLevel.Information,
        Message = "The worker process of VM number {Partition} has ended with its VM.")]
    internal static partial void WorkerEnded(this ILogger logger, uint partition);

    [LoggerMessage(
        EventId = 2661, Level = LogLevel.Error,
        Message = "The worker process of VM number {Partition} has died with code {Code} (128 and more: a signal). Its "
            + "guest sees TEE_ERROR_TARGET_DEAD, and gets a new process with its next session.")]
    internal static partial void WorkerDied(this ILogger logger, uint partition, int code);

    [LoggerMessage(
        EventId = 2662, Level = LogLevel.Warning,
        Message = "The worker process of VM number {Partition} has not ended within {Seconds} s and is killed.")]
    internal static partial void WorkerKilled(this ILogger logger, uint partition, double seconds);

    [LoggerMessage(
        EventId = 2663, Level = LogLevel.Error,
        Message = "The worker process of VM number {Partition} ({Program}) cannot serve it: the connection is closed.")]
    internal static partial void WorkerFailed(
        this ILogger logger, uint partition, string program, Exception exception);

    [LoggerMessage(
        EventId = 2664, Level = LogLevel.Warning,
        Message = "The worker process of VM number {Partition} has no filter of system calls: {Reason}.")]
    internal static partial void WorkerUnfiltered(this ILogger logger, uint partition, string reason);
}
