using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Remote.Framing;

namespace OpTeeMediator.Remote.Server;

/// <summary>What the operations of one VM share.</summary>
/// <param name="VirtualMachine">The VM.</param>
/// <param name="Partition">Its part of the TEE.</param>
/// <param name="Execution">Where the operations of the partition run.</param>
/// <param name="Channel">The connection.</param>
/// <param name="Limits">What the VM may use.</param>
/// <param name="Files">The files of its memory.</param>
/// <param name="Sessions">Its open sessions.</param>
/// <param name="Buffers">Its registered buffers.</param>
/// <param name="Failures">Logs what the backend throws.</param>
/// <param name="MaximumState">The longest state of its sessions, in bytes.</param>
/// <param name="Log">For its connection.</param>
internal sealed record HostedEnvironment(
    TeeVirtualMachine VirtualMachine,
    ITeePartition Partition,
    TeeExecutionPolicy Execution,
    FrameChannel Channel,
    ProtocolLimits Limits,
    HostedFiles Files,
    HostedSessions Sessions,
    HostedBuffers Buffers,
    BackendFailures Failures,
    int MaximumState,
    ILogger Log)
{
    /// <summary>The partition, if its sessions can be saved.</summary>
    public ISavableTeePartition? Savable => Partition as ISavableTeePartition;
}
