using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Guests;

/// <summary>How one VM's OP-TEE behaves. Every property has a default.</summary>
/// <remarks>Immutable after construction, hence thread-safe.</remarks>
public sealed record OpTeeGuestOptions
{
    /// <summary>The VM's name in logs.</summary>
    public string Name { get; init; } = "guest";

    /// <summary>The VM's durable identity: the same UUID each time this VM starts, on any host, and of no other VM. All
    /// zero, the default, for none.</summary>
    /// <remarks>What a TEE keeps for the VM belongs to it. A VM without one has no trusted storage and no derived keys
    /// in the software TEE. A copy of a VM needs an identity of its own.</remarks>
    public Guid Identity { get; init; }

    /// <summary>What the VM may reach; <see langword="null"/>: <see cref="ITeeBackend.DefaultAccess"/>.</summary>
    public TeeAccess? Access { get; init; }

    /// <summary>The capabilities that are offered to the guest. No others are, whatever the backend can.</summary>
    /// <remarks><see cref="OpTeeCapabilities.ReservedSharedMemory"/> follows <see cref="ReservedSharedMemory"/> and
    /// <see cref="OpTeeCapabilities.AsynchronousNotifications"/> <see cref="NotificationInterrupt"/>; they need not be
    /// named. <see cref="OpTeeCapabilities.RpmbProbe"/> is for backends whose applications use the guest's RPMB device
    /// (<see cref="OpTeeRpc.RpmbFrames"/>). Of those that say that they are never offered none can be named.</remarks>
    public OpTeeCapabilities Capabilities { get; init; } =
        OpTeeCapabilities.DynamicSharedMemory | OpTeeCapabilities.NullMemoryReference | OpTeeCapabilities.RpcArgument;

    /// <summary>What the VM may hold.</summary>
    public OpTeeLimits Limits { get; init; } = new();

    /// <summary>The revision that the guest's driver prints. Default <see langword="null"/>: that of the TEE
    /// (<see cref="ITeePartition.Revision"/>), or 4.5 if the TEE says none.</summary>
    public OpTeeRevision? Revision { get; init; }

    /// <summary>A region of guest RAM for old drivers that cannot register memory, page-aligned; the VMM's device tree
    /// must reserve it. Default none.</summary>
    public GuestRange? ReservedSharedMemory { get; init; }

    /// <summary>How long a vCPU waits for the backend before it may take interrupts: 0 to 1 s. Default 1 ms.</summary>
    /// <remarks>Longer is fewer exits, and later interrupts. A fraction of a millisecond is rounded up. 0 gives the
    /// vCPU back at once if the backend is not done.</remarks>
    public TimeSpan Quantum { get; init; } = TimeSpan.FromMilliseconds(1);

    /// <summary>How long an operation runs before the guest's thread is put to sleep until it ends, where
    /// <see cref="NotificationInterrupt"/> is given: 1 ms to 1 minute. Default 5 ms.</summary>
    /// <remarks>Shorter frees the vCPU earlier; each sleep costs the guest two exits and an interrupt.</remarks>
    public TimeSpan SleepAfter { get; init; } = TimeSpan.FromMilliseconds(5);

    /// <summary>An edge-triggered interrupt of the guest for notifications; <see langword="null"/> for none.</summary>
    /// <remarks>The device tree names it (<see cref="OpTeeDeviceTreeNode.Spi"/>), or Linux's driver fails.</remarks>
    public IInterruptLine? NotificationInterrupt { get; init; }

    /// <summary>How long disposing waits for calls that the backend does not end: 0 to 10 minutes. Default 5 s. After
    /// that what they hold is freed when they end.</summary>
    public TimeSpan ShutdownDeadline { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Whether EXCHANGE_CAPABILITIES drops what an earlier driver left: calls, sessions, registered memory.
    /// Default <see langword="true"/>.</summary>
    /// <remarks>Linux unregisters nothing at shutdown, and a crash kernel does not know what is registered.</remarks>
    public bool ResetOnCapabilityExchange { get; init; } = true;

    /// <summary>Where to log. Default nowhere. Errors of guests are logged at Debug, those of hosts at Error.</summary>
    public ILoggerFactory LoggerFactory { get; init; } = NullLoggerFactory.Instance;

    /// <summary>Where to write what the VM's calls do; <see langword="null"/>, the default, for nowhere. It must
    /// outlive the VM's OP-TEE, and may be that of other VMs too.</summary>
    public OpTeeTrace? Trace { get; init; }

    internal void Validate()
    {
        ArgumentNullException.ThrowIfNull(Limits);
        ArgumentNullException.ThrowIfNull(LoggerFactory);
        Limits.Validate();
        const OpTeeCapabilities Possible = OpTeeCapabilities.ReservedSharedMemory
            | OpTeeCapabilities.DynamicSharedMemory | OpTeeCapabilities.NullMemoryReference
            | OpTeeCapabilities.AsynchronousNotifications | OpTeeCapabilities.RpcArgument | OpTeeCapabilities.RpmbProbe;
        if ((Capabilities & ~Possible) != 0)
        {
            throw new ArgumentException(
                $"{nameof(OpTeeGuestOptions)}.{nameof(Capabilities)} names {Capabilities & ~Possible}, "
                + "which cannot be offered to a guest.");
        }

        OptionRange.Check(this, Quantum, TimeSpan.Zero, TimeSpan.FromSeconds(1));
        OptionRange.Check(this, SleepAfter, TimeSpan.FromMilliseconds(1), TimeSpan.FromMinutes(1));
        OptionRange.Check(this, ShutdownDeadline, TimeSpan.Zero, TimeSpan.FromMinutes(10));
        if (ReservedSharedMemory is { } reserved
            && (!reserved.Start.IsAligned(OpTeeMessage.PageSize) || reserved.Length == 0
                || reserved.Length % OpTeeMessage.PageSize != 0 || reserved.End.Value - 1 > uint.MaxValue))
        {
            throw new ArgumentException(
                $"{nameof(OpTeeGuestOptions)}.{nameof(ReservedSharedMemory)} is {reserved}; "
                + $"it must be whole pages of {OpTeeMessage.PageSize} bytes below 4 GiB.");
        }
    }
}
