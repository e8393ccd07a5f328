using OpTeeMediator.Backends;

namespace OpTeeMediator.Calls;

/// <summary>What the guest can be asked when nobody in it answers any more: while the mediator closes the sessions that
/// a driver has left. The pause holds what a session does meanwhile, as it has no call slot.</summary>
internal sealed class AbsentGuest(PauseControl pause) : GuestServices
{
    /// <summary>The driver instance that the session belongs to.</summary>
    public DriverInstance? DriverInstance { get; set; }

    public override TeeSharedMemory? Allocate(GuestMemoryKind kind, int size) => null;

    public override ValueTask<TeeSharedMemory?> AllocateAsync(GuestMemoryKind kind, int size) => default;

    public override TeeReturnCode Free(TeeSharedMemory memory) => TeeReturnCode.Communication;

    public override ValueTask<TeeReturnCode> FreeAsync(TeeSharedMemory memory) => new(TeeReturnCode.Communication);

    public override void BeginWait() => pause.Exit();

    public override void EndWait() => pause.Enter(DriverInstance!);

    private protected override TeeReturnCode CallCore(uint command, int count) => TeeReturnCode.Communication;

    private protected override ValueTask<TeeReturnCode> CallCoreAsync(uint command, int count) =>
        new(TeeReturnCode.Communication);
}
