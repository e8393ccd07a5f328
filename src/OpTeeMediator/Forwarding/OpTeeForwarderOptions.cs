using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Protocol;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Forwarding;

/// <summary>How a VM's calls are forwarded. Every property has a default.</summary>
/// <remarks>Immutable after construction, hence thread-safe.</remarks>
public sealed record OpTeeForwarderOptions
{
    private const int MaximumRecreationLimit = 1_000_000;

    /// <summary>The VM's name in logs.</summary>
    public string Name { get; init; } = "guest";

    /// <summary>OP-TEE's number of the VM, 1–65534; <see langword="null"/>, the default, for one not in use.</summary>
    public int? VirtualMachineId { get; init; }

    /// <summary>The capabilities that are offered to the guest, as far as OP-TEE has them; no others are.</summary>
    /// <remarks><see cref="OpTeeCapabilities.AsynchronousNotifications"/> follows <see cref="NotificationInterrupt"/>
    /// and need not be named. <see cref="OpTeeCapabilities.ReservedSharedMemory"/> cannot be offered: it is one region
    /// of physical memory for all VMs.</remarks>
    public OpTeeCapabilities Capabilities { get; init; } =
        OpTeeCapabilities.DynamicSharedMemory | OpTeeCapabilities.NullMemoryReference | OpTeeCapabilities.RpcArgument;

    /// <summary>What the VM may hold. Of the calls, no more than OP-TEE has threads for a VM.</summary>
    public OpTeeLimits Limits { get; init; } = new();

    /// <summary>An edge-triggered interrupt of the guest for notifications; <see langword="null"/> for none.</summary>
    /// <remarks>The VMM's device tree must name it (<see cref="OpTeeDeviceTreeNode.Spi"/>), otherwise Linux's driver
    /// does not start. The VMM calls <see cref="OpTeeForwarder.OnNotificationInterrupt"/> when OP-TEE raises its own
    /// interrupt; a VMM that passes that interrupt through to its one guest need not.</remarks>
    public IInterruptLine? NotificationInterrupt { get; init; }

    /// <summary>How long disposing, resetting and a driver that starts wait for calls that OP-TEE is at work on: 0 to
    /// 10 minutes. Default 5 s. After disposal all is freed when they return.</summary>
    public TimeSpan ShutdownDeadline { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Whether EXCHANGE_CAPABILITIES ends what an earlier driver left: calls, sessions, registered memory.
    /// Default <see langword="true"/>.</summary>
    /// <remarks>The forwarder ends the calls, answering what OP-TEE asks for with errors, closes the sessions and
    /// unregisters the memory. Calls of the new driver wait for it, interruptible, for at most
    /// <see cref="ShutdownDeadline"/>. If it fails, see <see cref="RecreationLimit"/>.</remarks>
    public bool ResetOnCapabilityExchange { get; init; } = true;

    /// <summary>How often at most the VM is destroyed and created again in OP-TEE: 0 to 1,000,000. Default 8.</summary>
    /// <remarks><see cref="OpTeeForwarder.ResetAsync"/> does so, and a driver that starts if OP-TEE does not release
    /// what an earlier one left. A guest can cause both at will, and some OP-TEEs lose memory each time and stop
    /// serving all VMs when none is left (4.10 after 37 to 50 times). At the limit a reset only cleans up, and a driver
    /// that starts gets OPTEE_SMC_RETURN_ENOTAVAIL where cleaning up does not suffice.</remarks>
    public int RecreationLimit { get; init; } = 8;

    /// <summary>Where to log. Default nowhere. Errors of guests are logged at Debug, those of hosts at Error.</summary>
    public ILoggerFactory LoggerFactory { get; init; } = NullLoggerFactory.Instance;

    /// <summary>Where to write what the VM's calls do; <see langword="null"/>, the default, for nowhere. It must
    /// outlive the forwarder, and may be that of other VMs too.</summary>
    public OpTeeTrace? Trace { get; init; }

    /// <summary>The number of shadow pages that these options ask of <see cref="IPhysicalMemory"/>.</summary>
    /// <remarks>For each call one for its message, one for RPC messages, and the page list of the largest buffer, so
    /// that none waits for another.</remarks>
    public int ShadowPages => Limits.Calls * (2 + ShadowPool.ListPages(Limits.PagesPerBuffer));

    internal void Validate()
    {
        ArgumentNullException.ThrowIfNull(Limits);
        ArgumentNullException.ThrowIfNull(LoggerFactory);
        Limits.Validate();
        if (VirtualMachineId is { } id)
        {
            OptionRange.Check(this, id, HostOpTee.LowestId, HostOpTee.HighestId, nameof(VirtualMachineId));
        }

        OptionRange.Check(this, RecreationLimit, 0, MaximumRecreationLimit);
        OptionRange.Check(this, ShutdownDeadline, TimeSpan.Zero, TimeSpan.FromMinutes(10));
        const OpTeeCapabilities Possible = OpTeeCapabilities.DynamicSharedMemory
            | OpTeeCapabilities.NullMemoryReference | OpTeeCapabilities.AsynchronousNotifications
            | OpTeeCapabilities.RpcArgument | OpTeeCapabilities.RpmbProbe;
        if ((Capabilities & ~Possible) is var impossible and not 0)
        {
            bool isReserved = (impossible & OpTeeCapabilities.ReservedSharedMemory) != 0;
            string why = isReserved ? ": reserved memory is one region of physical memory for all VMs" : "";
            throw new ArgumentException(
                $"{nameof(OpTeeForwarderOptions)}.{nameof(Capabilities)} names {impossible}, which cannot be offered "
                + $"to a guest{why}.");
        }
    }
}
