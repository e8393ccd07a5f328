using Microsoft.Extensions.Logging;

namespace OpTeeMediator.SoftwareTee.FirmwareTpm;

/// <summary>The messages of the firmware TPM: event ids from 3300.</summary>
internal static partial class Log
{
    [LoggerMessage(3300, LogLevel.Error,
        "VM {VirtualMachine}: the guest gets no TPM: {Reason} Like entries in the last minute, not logged: "
            + "{Suppressed}")]
    public static partial void EngineDidNotStart(
        this ILogger logger, string virtualMachine, string reason, int suppressed);

    [LoggerMessage(3301, LogLevel.Error,
        "VM {VirtualMachine}: the TPM answers TPM_RC_FAILURE until the VM is reset: {Reason} Like entries in the last "
            + "minute, not logged: {Suppressed}")]
    public static partial void EngineFailed(this ILogger logger, string virtualMachine, string reason, int suppressed);
}
