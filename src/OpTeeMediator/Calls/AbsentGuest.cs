using OpTeeMediator.Backends;

namespace OpTeeMediator.Calls;

/// <summary>What the guest can be asked when nobody in it answers any more: while the mediator closes the sessions that
/// a driver has left.</summary>
/// <param name="pause">Holds what the closing session does, as it has no call slot; the caller has entered it.</param>
internal sealed class AbsentGuest(PauseControl pause) : GuestServices
{
    /// <summary>The driver instance that the session belongs to.</summary>
    public DriverInstance? DriverInstance { get; set; }

    /// <inheritdoc/>
    public override TeeSharedMemory? Allocate(GuestMemoryKind kind, int size) => null;

    /// <inheritdoc/>
    public override ValueTask<TeeSharedMemory?> AllocateAsync(GuestMemoryKind kind, int size) => default;

    /// <inheritdoc/>
    public override TeeReturnCode Free(TeeSharedMemory memory) => TeeReturnCode.Communication;

    /// <inheritdoc/>
    public override ValueTask<TeeReturnCode> FreeAsync(TeeSharedMemory memory) => new(TeeReturnCode.Communication);

    /// <inheritdoc/>
    public override void BeginWait() => pause.Exit();

    /// <inheritdoc/>
    public override void EndWait() => pause.Enter(DriverInstance!);

    private protected override TeeReturnCode CallCore(uint command, int count) => TeeReturnCode.Communication;

    private protected override ValueTask<TeeReturnCode> CallCoreAsync(uint command, int count) =>
        new(TeeReturnCode.Communication);
}
