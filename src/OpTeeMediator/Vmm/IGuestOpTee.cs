using System.Collections.Immutable;
using System.Diagnostics.CodeAnalysis;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Vmm;

/// <summary>The OP-TEE of one VM, as its VMM holds it, whatever the way to the TEE.</summary>
/// <remarks>
/// <code>
/// IGuestOpTee optee = …;             // before the VM's first instruction
/// var smc = new SmcRouter(optee);    // the guest's SMCs
/// // The device tree: optee.DeviceTreeNode, optee.ReservedMemory.
/// await optee.ResetAsync();          // the VM is reset, no vCPU runs
/// await optee.PauseAsync();          // before the VM's memory is copied
/// optee.Resume();
/// await optee.DisposeAsync();        // after the VM's last instruction, before its memory is freed
/// </code>
/// Implementations are thread-safe.
/// </remarks>
public interface IGuestOpTee : ISmcHandler, IAsyncDisposable
{
    /// <summary>The device-tree node by which the guest finds its OP-TEE.</summary>
    OpTeeDeviceTreeNode DeviceTreeNode { get; }

    /// <summary>Guest RAM that is kept for buffers shared with OP-TEE; it never changes.</summary>
    /// <remarks>The VMM puts nothing there, and its device tree reserves it: a child of <c>/reserved-memory</c> with
    /// <c>reg</c> and <c>no-map</c> for each range.</remarks>
    ImmutableArray<GuestRange> ReservedMemory { get; }

    /// <summary>What the guest holds now.</summary>
    OpTeeGuestStatus Status { get; }

    /// <summary>The VM is reset: its calls, sessions and shared memory end, and the handler stays usable.</summary>
    /// <returns>A task that ends when a new driver may begin.</returns>
    /// <exception cref="ObjectDisposedException">This object was disposed of.</exception>
    /// <exception cref="Exception">The TEE could not be reset; each implementation says how it can fail.</exception>
    /// <remarks>No vCPU of the guest runs meanwhile. Not held by a pause; a paused VM stays paused.</remarks>
    Task ResetAsync();

    /// <summary>The VM is paused: waits until nothing of it is at work in the TEE, and lets nothing begin or go on
    /// there until <see cref="Resume"/>.</summary>
    /// <param name="cancellationToken">Withdraws this attempt to pause; a pause that holds is not affected.</param>
    /// <returns>A task that says whether the VM is paused. If not, this call has no effect: something has not come to a
    /// halt in the time that the implementation names, or <see cref="Resume"/> was called meanwhile.</returns>
    /// <exception cref="ObjectDisposedException">This object was disposed of.</exception>
    /// <exception cref="OperationCanceledException">The attempt was cancelled, and has no effect.</exception>
    /// <remarks>
    /// <para>May be called several times, also at the same time: one <see cref="Resume"/> ends all pauses, and a call
    /// that fails leaves those of others in force.</para>
    /// <para>vCPUs may run meanwhile. What they bring is held and not lost: a call is suspended, or made again by the
    /// guest after its interrupts (<see cref="SmcOutcomeKind.Retry"/>). No interrupt is raised; those that are due are
    /// raised after <see cref="Resume"/>.</para>
    /// </remarks>
    Task<bool> PauseAsync(CancellationToken cancellationToken = default);

    /// <summary>The VM goes on, whatever number of times it was paused.</summary>
    /// <exception cref="ObjectDisposedException">This object was disposed of.</exception>
    /// <remarks>Without effect if the VM was not paused.</remarks>
    [SuppressMessage(
        "Naming", "CA1716:Identifiers should not match keywords", Justification = "Visual Basic can write [Resume].")]
    void Resume();
}
