using Microsoft.Extensions.Logging;

namespace OpTeeMediator.SoftwareTee.Hosting;

/// <summary>The messages of the software TEE: event ids from 3000.</summary>
internal static partial class Log
{
    [LoggerMessage(3000, LogLevel.Error,
        "VM {VirtualMachine}: the trusted application {Type} ({Application}) has panicked in {EntryPoint}; its "
            + "sessions answer TARGET_DEAD from now on. Panics of it since the last such entry, logged for debugging "
            + "only: {Quiet}")]
    public static partial void Panicked(
        this ILogger logger, Exception exception, string virtualMachine, string type, Guid application,
        string entryPoint, int quiet);

    [LoggerMessage(3001, LogLevel.Debug,
        "VM {VirtualMachine}: the trusted application {Type} ({Application}) has panicked again, in {EntryPoint}")]
    public static partial void PanickedAgain(
        this ILogger logger, Exception exception, string virtualMachine, string type, Guid application,
        string entryPoint);

    [LoggerMessage(3002, LogLevel.Error,
        "VM {VirtualMachine}: the trusted application {Type} ({Application}) has thrown as what it held was "
            + "disposed of; something may be left. The same since the last such entry, logged for debugging only: "
            + "{Quiet}")]
    public static partial void DisposalFailed(
        this ILogger logger, Exception exception, string virtualMachine, string type, Guid application, int quiet);

    [LoggerMessage(3003, LogLevel.Debug,
        "VM {VirtualMachine}: the trusted application {Type} ({Application}) has thrown again as what it held was "
            + "disposed of")]
    public static partial void DisposalFailedAgain(
        this ILogger logger, Exception exception, string virtualMachine, string type, Guid application);
}
