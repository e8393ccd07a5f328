using Microsoft.Extensions.Logging;
using OpTeeMediator.Remote.Framing;

namespace OpTeeMediator.Remote.Server;

/// <summary>What the hosting of one VM logs, with event identifiers from 2620 to 2639.</summary>
/// <remarks>Identifiers are stable: none is given twice, none changes its meaning.</remarks>
internal static partial class Log
{
    [LoggerMessage(
        EventId = 2620, Level = LogLevel.Information,
        Message = "VM {VirtualMachine} is connected as number {Partition}: {Calls} operations at a time.")]
    internal static partial void Connected(this ILogger logger, string virtualMachine, uint partition, int calls);

    [LoggerMessage(
        EventId = 2621, Level = LogLevel.Information, Message = "VM {VirtualMachine} is gone.")]
    internal static partial void Gone(this ILogger logger, string virtualMachine);

    [LoggerMessage(
        EventId = 2622, Level = LogLevel.Warning,
        Message = "The VMM of VM {VirtualMachine} has sent {Violation}: its connection is closed.")]
    internal static partial void Malformed(this ILogger logger, string virtualMachine, string violation);

    [LoggerMessage(
        EventId = 2623, Level = LogLevel.Error,
        Message = "The TEE failed at {Operation} for VM {VirtualMachine}. The guest sees TEE_ERROR_COMMUNICATION. "
            + "Entries like this suppressed before it: {Suppressed}.")]
    internal static partial void BackendFailed(
        this ILogger logger, string virtualMachine, FrameType operation, long suppressed, Exception exception);

    [LoggerMessage(
        EventId = 2624, Level = LogLevel.Warning,
        Message = "VM {VirtualMachine} is gone, but {Operations} of its operations still run after {Seconds} s; what "
            + "it holds is freed when they end. A worker process for each VM could be ended.")]
    internal static partial void OperationsOutliveClient(
        this ILogger logger, string virtualMachine, int operations, double seconds);

    [LoggerMessage(
        EventId = 2625, Level = LogLevel.Error,
        Message = "The TEE failed to free what VM {VirtualMachine} has left.")]
    internal static partial void TeardownFailed(this ILogger logger, string virtualMachine, Exception exception);

    [LoggerMessage(
        EventId = 2626, Level = LogLevel.Warning, Message = "VM {VirtualMachine} is refused: {Reason}")]
    internal static partial void Refused(this ILogger logger, string virtualMachine, string reason);

    [LoggerMessage(
        EventId = 2627, Level = LogLevel.Error,
        Message = "The TEE failed to create the partition of VM {VirtualMachine}.")]
    internal static partial void PartitionFailed(this ILogger logger, string virtualMachine, Exception exception);

    [LoggerMessage(
        EventId = 2628, Level = LogLevel.Error,
        Message = "VM {VirtualMachine} is gone, but {Operations} of its operations still run after {Seconds:0} s: they "
            + "end with this process.")]
    internal static partial void OperationsEndWithProcess(
        this ILogger logger, string virtualMachine, int operations, double seconds);

    [LoggerMessage(
        EventId = 2629, Level = LogLevel.Information,
        Message = "The VMM of VM {VirtualMachine} has got the state of {Sessions} sessions: {Bytes} bytes.")]
    internal static partial void StateSaved(this ILogger logger, string virtualMachine, int sessions, int bytes);

    [LoggerMessage(
        EventId = 2630, Level = LogLevel.Information,
        Message = "VM {VirtualMachine} goes on with {Sessions} sessions of a state of {Bytes} bytes.")]
    internal static partial void StateRestored(this ILogger logger, string virtualMachine, int sessions, int bytes);

    [LoggerMessage(
        EventId = 2631, Level = LogLevel.Warning,
        Message = "{Operation} of the sessions of VM {VirtualMachine} is refused: {Reason}")]
    internal static partial void StateRefused(
        this ILogger logger, string virtualMachine, FrameType operation, string reason);

    [LoggerMessage(
        EventId = 2632, Level = LogLevel.Information,
        Message = "VM {VirtualMachine} goes on elsewhere: its applications are not told of an end.")]
    internal static partial void Abandoned(this ILogger logger, string virtualMachine);

    [LoggerMessage(
        EventId = 2633, Level = LogLevel.Error,
        Message = "The TEE failed at {Operation} of the restored VM {VirtualMachine}: what it has may be used by both "
            + "sides of a move, or by none.")]
    internal static partial void OutcomeFailed(
        this ILogger logger, string virtualMachine, FrameType operation, Exception exception);
}
