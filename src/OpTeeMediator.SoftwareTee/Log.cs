using Microsoft.Extensions.Logging;

namespace OpTeeMediator.Software;

/// <summary>The messages of the software TEE: event ids from 3000.</summary>
internal static partial class Log
{
    [LoggerMessage(3000, LogLevel.Error, "VM {VirtualMachine}: the trusted application {Type} ({Application}) has panicked in {EntryPoint}; its sessions answer TARGET_DEAD from now on.")]
    public static partial void Panicked(this ILogger logger, Exception exception, string virtualMachine, string type, Guid application, string entryPoint);
}
