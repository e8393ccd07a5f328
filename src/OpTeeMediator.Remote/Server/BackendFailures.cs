using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Remote.Framing;

namespace OpTeeMediator.Remote.Server;

/// <summary>Logs what the hosted TEE throws, at most one entry of a VM in ten seconds.</summary>
internal sealed class BackendFailures(string virtualMachine, ILogger log)
{
    private readonly LogRateLimit _limit = new();

    /// <summary>What the guest gets when the TEE threw.</summary>
    public TeeResult Report(FrameType operation, Exception exception)
    {
        if (_limit.TryPass(out long suppressed))
        {
            log.BackendFailed(virtualMachine, operation, suppressed, exception);
        }

        return TeeResult.CommunicationFailure;
    }
}
