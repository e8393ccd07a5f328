using OpTeeMediator.Backends;

namespace OpTeeMediator.SoftwareTee.Applications;

/// <summary>A trusted application's declaration: its UUID and GlobalPlatform's <c>gpd.ta.*</c> properties.</summary>
/// <remarks>
/// Without any property set, each session has an instance of its own, which runs on the mediator's threads. Immutable,
/// hence thread-safe. Source: GlobalPlatform TEE Internal Core API, "Trusted Application Configuration Properties".
/// </remarks>
/// <param name="Uuid">The application's UUID (<c>gpd.ta.appID</c>), by which clients open it; not all zero.</param>
public sealed record TrustedApplicationManifest(Guid Uuid)
{
    /// <summary><c>gpd.ta.singleInstance</c>: whether all sessions of a VM share one instance.</summary>
    public bool SingleInstance { get; init; }

    /// <summary>
    /// <c>gpd.ta.multiSession</c>: whether a <see cref="SingleInstance"/> serves several sessions. Otherwise a second
    /// one is refused with TEE_ERROR_BUSY, origin TEE.
    /// </summary>
    public bool MultiSession { get; init; }

    /// <summary>
    /// <c>gpd.ta.instanceKeepAlive</c>: whether a <see cref="SingleInstance"/> outlives its last session, until the VM
    /// is destroyed.
    /// </summary>
    public bool InstanceKeepAlive { get; init; }

    /// <summary>
    /// Whether the sessions of a <see cref="SingleInstance"/> may run at the same time (OP-TEE's TA_FLAG_CONCURRENT):
    /// the instance is thread-safe. Each single session still runs one command at a time.
    /// </summary>
    public bool Concurrent { get; init; }

    /// <summary>
    /// What must run in the guest before its kernel binds a driver to this application; <see langword="null"/> if no
    /// kernel driver wants it (OP-TEE's TA_FLAG_DEVICE_ENUM, TA_FLAG_DEVICE_ENUM_SUPP).
    /// </summary>
    public TeeDeviceDependency? DeviceDependency { get; init; }

    /// <summary>
    /// Whether the application is of no use without <see cref="Storage.TrustedStorage"/>: a TEE without a store does
    /// not announce it, and refuses its sessions with TEE_ERROR_ITEM_NOT_FOUND.
    /// </summary>
    public bool NeedsStorage { get; init; }

    /// <summary>
    /// Whether the application is of no use without <see cref="TrustedApplication.DeriveKey"/>: it is not announced to
    /// a VM for which no keys can be derived, and its sessions are refused with TEE_ERROR_ITEM_NOT_FOUND.
    /// </summary>
    public bool NeedsKeys { get; init; }

    /// <summary>Where the entry points run; by default on the mediator's threads.</summary>
    /// <remarks>
    /// <para><see cref="TeeExecution.Worker"/>: they may block, call the guest (<see cref="ApplicationCall.Guest"/>)
    /// and wait. An operation whose session or instance is busy waits for its turn; cancelled while it waits, it is
    /// TEE_ERROR_CANCEL, origin TEE.</para>
    /// <para><see cref="TeeExecution.Inline"/> promises that each one takes microseconds, never blocks, and is complete
    /// when it returns; one that is not complete is a panic. An operation whose session or instance is busy on another
    /// vCPU spins for its turn, and gives up after 1 ms with TEE_ERROR_BUSY, origin TEE: only the host taking the CPU
    /// from the other vCPU, or a broken promise, makes it wait so long.</para>
    /// </remarks>
    public TeeExecution Execution { get; init; } = TeeExecution.Worker;
}
