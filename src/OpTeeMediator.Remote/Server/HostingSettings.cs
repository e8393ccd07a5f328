using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Remote.Framing;

namespace OpTeeMediator.Remote.Server;

/// <summary>What a server gives one VM.</summary>
/// <param name="Backend">The TEE.</param>
/// <param name="Partition">The VM's number.</param>
/// <param name="Access">What every VM may reach at most.</param>
/// <param name="MaximumCalls">How many calls at a time a VM may ask for.</param>
/// <param name="Limits">What else it may use.</param>
/// <param name="PermitsHugePages">See <see cref="HostedFile.Map"/>.</param>
/// <param name="OperationsDeadline">
/// How long the operations of a VM that is gone are waited for; <see cref="Timeout.InfiniteTimeSpan"/> without end.
/// </param>
/// <param name="MaximumState">How long the saved state of its sessions may be, in bytes.</param>
/// <param name="LoggerFactory">For the VM's partition.</param>
/// <param name="Logger">For its connection.</param>
internal sealed record HostingSettings(
    ITeeBackend Backend,
    uint Partition,
    TeeAccess Access,
    int MaximumCalls,
    ProtocolLimits Limits,
    bool PermitsHugePages,
    TimeSpan OperationsDeadline,
    int MaximumState,
    ILoggerFactory LoggerFactory,
    ILogger Logger)
{
    /// <summary>What a VM may reach: what its VMM and this server both allow.</summary>
    public TeeAccess AccessOf(IReadOnlyCollection<Guid>? applications) =>
        applications is null ? Access : TeeAccess.Only(applications.Where(Access.Allows));
}
