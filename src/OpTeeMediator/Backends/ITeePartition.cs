using OpTeeMediator.Guests;

namespace OpTeeMediator.Backends;

/// <summary>What a TEE keeps for one VM. Disposing of it tells the TEE that the VM is gone and frees everything that VM held.</summary>
/// <remarks>
/// <para>Implementations are thread-safe: up to as many operations run at the same time as the guest has call slots.</para>
/// <para>Guest faults are return codes. An exception is a host fault: the guest gets TEE_ERROR_COMMUNICATION, origin COMMS, and the log one entry.</para>
/// <para>When the mediator disposes of a partition all sessions are closed, all memory is unregistered, and no operation is running.</para>
/// </remarks>
public interface ITeePartition : IAsyncDisposable
{
    /// <summary>Whether <see cref="ExecutionOf"/> or a session may ever answer <see cref="TeeExecution.Worker"/>; if not, no threads are prepared.</summary>
    /// <remarks>
    /// Read once. An operation that asks for a worker all the same is refused: the guest gets TEE_ERROR_COMMUNICATION, the log an error. A session that
    /// it was to close, or a buffer that it was to unregister, ends with the VM or its driver.
    /// </remarks>
    bool UsesWorkers { get; }

    /// <summary>
    /// The devices that the TEE announces to the guest's kernel, or <see langword="null"/> if it has no device enumeration. The mediator answers the
    /// guest's enumeration with them, filtered by the VM's <see cref="TeeAccess"/>.
    /// </summary>
    IReadOnlyList<TeeDevice>? Devices { get; }

    /// <summary>The revision of the TEE, which the guest's driver prints; <see langword="null"/> if the TEE says none. Never changes.</summary>
    OpTeeRevision? Revision => null;

    /// <summary>Where an operation runs that does not belong to an open session.</summary>
    /// <param name="operation"><see cref="TeeOperation.OpenSession"/>, <see cref="TeeOperation.RegisterMemory"/> or <see cref="TeeOperation.UnregisterMemory"/>.</param>
    /// <param name="application">The trusted application; all zero for memory.</param>
    /// <returns>Where to run it.</returns>
    TeeExecution ExecutionOf(TeeOperation operation, in Guid application);

    /// <summary>Opens a session with <see cref="TeeRequest.Application"/>.</summary>
    /// <param name="request">The operation; on success <see cref="TeeRequest.Session"/> and the outputs are set. Not to be kept.</param>
    /// <returns>The result.</returns>
    ValueTask<TeeResult> OpenSessionAsync(TeeRequest request);

    /// <summary>Makes a buffer known to the TEE that the guest has registered.</summary>
    /// <param name="memory">The buffer, pinned until <see cref="UnregisterMemoryAsync"/> has returned.</param>
    /// <returns>A code other than success refuses the registration; the guest gets it as it is.</returns>
    ValueTask<TeeReturnCode> RegisterMemoryAsync(TeeSharedMemory memory);

    /// <summary>Ends what <see cref="RegisterMemoryAsync"/> began. No operation uses the buffer any more.</summary>
    /// <param name="memory">The buffer.</param>
    /// <returns>A task that ends when the TEE has let go of the buffer.</returns>
    ValueTask UnregisterMemoryAsync(TeeSharedMemory memory);

    /// <summary>Asks a running operation to end early. Returns at once; never blocks.</summary>
    /// <param name="request">
    /// The operation, which was with the backend when <see cref="TeeRequest.IsCancellationRequested"/> or
    /// <see cref="TeeRequest.IsTerminationRequested"/> became true. It is the same operation until this method returns, though it may be over by then.
    /// </param>
    /// <remarks>
    /// Called once at most for each of the two: a cancellation is of an invocation or of the opening of a session. Not called for what comes before the
    /// operation begins: that operation finds the property true. Not called while the VM is paused, unless it is being reset or disposed of.
    /// </remarks>
    void Cancel(TeeRequest request);

    /// <summary>The VM is reset: the TEE starts again for it, as a machine's TEE does when the machine is reset.</summary>
    /// <returns>A task that ends when nothing is left of what the VM's trusted applications have kept in memory.</returns>
    /// <remarks>
    /// <para>Called after all sessions of the drivers before the reset are closed and all their memory is unregistered. A driver that is loaded again
    /// (EXCHANGE_CAPABILITIES) is no reset: its sessions end, but what applications keep without a session stays.</para>
    /// <para>A session of a driver after the reset may be open already if the VMM does not wait for
    /// <see cref="Guests.OpTeeGuest.ResetAsync"/>, or if that has returned at its deadline. A TEE that others share too, such as the host's, cannot
    /// start again for one VM: it does nothing here.</para>
    /// <para>An exception is a host fault; the log has one entry.</para>
    /// </remarks>
    ValueTask ResetAsync();
}
