using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;

namespace OpTeeMediator.Remote.Client;

/// <summary>What the client of a TEE server logs, with event identifiers from 2600 to 2619.</summary>
/// <remarks>Identifiers are stable: none is given twice, none changes its meaning.</remarks>
internal static partial class Log
{
    [LoggerMessage(
        EventId = 2600, Level = LogLevel.Information,
        Message = "VM {VirtualMachine} has a partition of the TEE at {Path}, which announces {Devices} devices.")]
    internal static partial void PartitionCreated(
        this ILogger logger, string virtualMachine, string path, int devices);

    [LoggerMessage(
        EventId = 2601, Level = LogLevel.Warning,
        Message = "The TEE server of VM {VirtualMachine} is gone. Its sessions answer TEE_ERROR_TARGET_DEAD; the next "
            + "session is opened with the server as soon as it is there again.")]
    internal static partial void ServerLost(this ILogger logger, string virtualMachine);

    [LoggerMessage(
        EventId = 2602, Level = LogLevel.Information,
        Message = "VM {VirtualMachine} has reached its TEE server again.")]
    internal static partial void Reconnected(this ILogger logger, string virtualMachine);

    [LoggerMessage(
        EventId = 2603, Level = LogLevel.Warning,
        Message = "VM {VirtualMachine} does not reach its TEE server: {Reason} The guest sees TEE_ERROR_COMMUNICATION. "
            + "Entries like this suppressed before it: {Suppressed}.")]
    internal static partial void ServerUnreachable(
        this ILogger logger, string virtualMachine, string reason, long suppressed);

    [LoggerMessage(
        EventId = 2604, Level = LogLevel.Error,
        Message = "The TEE server of VM {VirtualMachine} has sent {Violation}: the connection is closed.")]
    internal static partial void ServerMalformed(this ILogger logger, string virtualMachine, string violation);

    [LoggerMessage(
        EventId = 2605, Level = LogLevel.Warning,
        Message = "The TEE server of VM {VirtualMachine} has ended the connection: {Reason}")]
    internal static partial void ConnectionRefused(this ILogger logger, string virtualMachine, string reason);

    [LoggerMessage(
        EventId = 2606, Level = LogLevel.Error,
        Message = "Receiving from the TEE server of VM {VirtualMachine} failed: the connection is closed.")]
    internal static partial void ReceiverFailed(this ILogger logger, string virtualMachine, Exception exception);

    [LoggerMessage(
        EventId = 2607, Level = LogLevel.Debug,
        Message = "A buffer of {Size} bytes of VM {VirtualMachine} consists of more pieces than its TEE server takes; "
            + "the guest sees {Code}.")]
    internal static partial void BufferTooScattered(
        this ILogger logger, string virtualMachine, ulong size, TeeReturnCode code);

    [LoggerMessage(
        EventId = 2608, Level = LogLevel.Warning,
        Message = "VM {VirtualMachine} is reset or destroyed, and an operation of it has not ended within {Seconds} s "
            + "at its TEE server: the connection is closed.")]
    internal static partial void OperationDoesNotEnd(this ILogger logger, string virtualMachine, double seconds);
}
