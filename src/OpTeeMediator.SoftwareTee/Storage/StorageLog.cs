using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;

namespace OpTeeMediator.SoftwareTee.Storage;

/// <summary>The messages of trusted storage: event ids from 3100.</summary>
internal static partial class StorageLog
{
    [LoggerMessage(
        3100, LogLevel.Error,
        "VM {VirtualMachine} ({Id}): trusted storage: {Message}; the trusted application is told {Code}")]
    public static partial void StorageFailed(
        this ILogger logger, Exception exception, string virtualMachine, Guid id, string message, TeeReturnCode code);
}
