using System.Diagnostics.CodeAnalysis;
using OpTeeMediator.Protocol;

namespace OpTeeMediator.Backends;

/// <summary>The part of a TEE that serves one VM; disposed of with the VM, it frees everything of it.</summary>
/// <remarks>
/// <para>Implementations are thread-safe: as many operations run at the same time as the guest has call slots.</para>
/// <para>Guest faults are return codes. An exception is a host fault: the guest gets TEE_ERROR_COMMUNICATION, origin
/// COMMS, and the log one entry.</para>
/// <para>When the mediator disposes of a partition, all sessions are closed, all memory is unregistered, and no
/// operation is running.</para>
/// </remarks>
public interface ITeePartition : IAsyncDisposable
{
    /// <summary>Where the partition's operations run; read once. By default all may block.</summary>
    TeeExecutionPolicy Execution => TeeExecutionPolicy.Worker;

    /// <summary>The devices that the TEE announces to the guest's kernel, or <see langword="null"/>, the default, if it
    /// has no device enumeration. The mediator answers the guest's enumeration with those that the VM's
    /// <see cref="TeeAccess"/> allows.</summary>
    IReadOnlyList<TeeDevice>? Devices => null;

    /// <summary>The revision of the TEE, which the guest's driver prints; <see langword="null"/>, the default, if it is
    /// not known. Never changes.</summary>
    OpTeeRevision? Revision => null;

    /// <summary>Opens a session with <see cref="TeeRequest.Application"/>.</summary>
    /// <param name="request">The operation; success sets its <see cref="TeeRequest.Session"/>. Not to be kept.</param>
    ValueTask<TeeResult> OpenSessionAsync(TeeRequest request);

    /// <summary>Makes a registered buffer known to the TEE. By default nothing: operations see it anyway.</summary>
    /// <param name="memory">The buffer, pinned until <see cref="UnregisterMemoryAsync"/> has returned.</param>
    /// <returns>A code other than success refuses the registration; the guest gets it as it is.</returns>
    ValueTask<TeeReturnCode> RegisterMemoryAsync(TeeSharedMemory memory) => new(TeeReturnCode.Success);

    /// <summary>Ends what <see cref="RegisterMemoryAsync"/> began. No operation uses the buffer any more.</summary>
    /// <param name="memory">The buffer.</param>
    /// <returns>A task that ends when the TEE no longer uses the buffer.</returns>
    ValueTask UnregisterMemoryAsync(TeeSharedMemory memory) => default;

    /// <summary>Asks a running operation to end early. Returns at once; never blocks. By default nothing is done, and
    /// the operation ends by itself.</summary>
    /// <param name="request">The operation, which was with the backend when
    /// <see cref="TeeRequest.IsCancellationRequested"/> or <see cref="TeeRequest.IsTerminationRequested"/> became true.
    /// It is the same operation until this method returns, though it may have ended.</param>
    /// <remarks>Called once at most for each of the two. Clients cancel only commands and the opening of a session. Not
    /// called for a request that came before the operation began: that operation finds the property true. Not called
    /// while the VM is paused, unless it is being reset or disposed of.</remarks>
    void Cancel(TeeRequest request)
    {
    }

    /// <summary>The VM is reset: the TEE starts again for it, as a machine's TEE does when the machine is reset. By
    /// default nothing is done, which is right for a TEE that keeps nothing without a session.</summary>
    /// <returns>A task that ends when the VM's trusted applications have nothing left in memory.</returns>
    /// <remarks>
    /// <para>Called after all sessions of the drivers before the reset are closed and all their memory is unregistered.
    /// A driver that is loaded again (EXCHANGE_CAPABILITIES) is no reset: its sessions end, but what applications keep
    /// without a session stays.</para>
    /// <para>A session of a driver after the reset may be open already if the VMM does not wait for
    /// <see cref="Guests.OpTeeGuest.ResetAsync"/>, or if that has returned at its deadline. A TEE that others share
    /// too, such as the host's, cannot start again for one VM: it does nothing here.</para>
    /// <para>An exception is a host fault; the log has one entry.</para>
    /// </remarks>
    ValueTask ResetAsync() => default;

    /// <summary>The VM is destroyed. By default the partition holds nothing.</summary>
    /// <returns>A task that ends when everything is freed.</returns>
    [SuppressMessage("Usage", "CA1816", Justification = "A partition with a finalizer implements this itself.")]
    ValueTask IAsyncDisposable.DisposeAsync() => default;
}
