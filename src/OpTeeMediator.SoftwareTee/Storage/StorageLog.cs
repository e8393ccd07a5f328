using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;

namespace OpTeeMediator.SoftwareTee.Storage;

/// <summary>The messages of trusted storage and keys: event ids from 3100.</summary>
internal static partial class StorageLog
{
    [LoggerMessage(3100, LogLevel.Error,
        "VM {VirtualMachine} ({Id}): trusted storage: {Message}; the trusted application is told {Code}")]
    public static partial void StorageFailed(
        this ILogger logger, Exception exception, string virtualMachine, Guid id, string message, TeeReturnCode code);

    [LoggerMessage(3101, LogLevel.Error,
        "VM {VirtualMachine} ({Id}): no key can be derived for the trusted application {Application}: {Message}; it is "
            + "told {Code}")]
    public static partial void KeyDerivationFailed(
        this ILogger logger, Exception exception, string virtualMachine, Guid id, Guid application, string message,
        TeeReturnCode code);

    [LoggerMessage(3102, LogLevel.Warning,
        "VM {VirtualMachine} has no identity, so that its trusted applications have neither storage nor derived keys: "
            + "set OpTeeGuestOptions.Identity to a UUID of its own, the same each time the VM starts")]
    public static partial void IdentityMissing(this ILogger logger, string virtualMachine);
}
