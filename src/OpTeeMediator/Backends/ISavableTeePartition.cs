namespace OpTeeMediator.Backends;

/// <summary>A partition of a TEE whose sessions can go on in another process.</summary>
/// <remarks>A partition without it is new after a restore: sessions of before it are dead, and registered memory is
/// registered again. The mediator calls this while the VM is paused and nothing is at work in the partition, but for
/// operations that wait (<see cref="GuestServices.BeginWait"/>), which are not saved.</remarks>
public interface ISavableTeePartition : ITeePartition
{
    /// <summary>Whether a session can go on elsewhere as it is now.</summary>
    /// <param name="session">An open session of the partition.</param>
    /// <returns><see langword="false"/> if it would be dead after a restore.</returns>
    bool CanSave(ITeeSession session);

    /// <summary>Saves what the partition holds for the VM, and changes nothing.</summary>
    /// <param name="sessions">The open sessions that are to go on; <see cref="CanSave"/> allows each.</param>
    /// <returns>The state, in a form of the TEE's own. It is authenticated, and encrypted if the VMM gives a key.
    /// </returns>
    ValueTask<ReadOnlyMemory<byte>> SaveAsync(IReadOnlyList<ITeeSession> sessions);

    /// <summary>Takes over what <see cref="SaveAsync"/> has saved, before the VM's first operation.</summary>
    /// <param name="state">The state.</param>
    /// <param name="sessions">How many sessions there were.</param>
    /// <returns>The sessions, in the same order; <see langword="null"/> for one that is dead.</returns>
    /// <exception cref="State.OpTeeStateException">It cannot; the message says why.</exception>
    /// <remarks>Until <see cref="Commit"/> the VM may run where its state was saved: what both can reach, such as
    /// trusted storage, is not touched. If this throws, the partition has nothing of the state.</remarks>
    ValueTask<IReadOnlyList<ITeeSession?>> RestoreAsync(ReadOnlyMemory<byte> state, int sessions);

    /// <summary>The restored VM runs here from now on, and no more where its state was saved. By default nothing is
    /// done.</summary>
    /// <remarks>Called once, after <see cref="RestoreAsync"/> and before the first operation of the VM; instead of
    /// <see cref="Abandon"/>. Buffers are registered before.</remarks>
    void Commit()
    {
    }

    /// <summary>The VM goes on elsewhere: it was saved here and is abandoned
    /// (<see cref="Guests.OpTeeGuest.AbandonAsync"/>; at a TEE server, or has just ended), or it was to be restored
    /// here and is not, or was not resumed. What belongs to the VM, such as trusted storage, is not touched any more.
    /// By default nothing is done.</summary>
    /// <remarks>Its sessions are closed and the partition is disposed of afterwards, to free what they hold
    /// here.</remarks>
    void Abandon()
    {
    }
}
