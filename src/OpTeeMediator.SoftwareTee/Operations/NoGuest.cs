using OpTeeMediator.Backends;

namespace OpTeeMediator.SoftwareTee.Operations;

/// <summary>
/// The guest of an operation that none of the guest's operations carries: nothing can be asked of it.
/// </summary>
internal sealed class NoGuest : GuestServices
{
    public override TeeSharedMemory? Allocate(GuestMemoryKind kind, int size) => null;

    public override ValueTask<TeeSharedMemory?> AllocateAsync(GuestMemoryKind kind, int size) => default;

    public override TeeReturnCode Free(TeeSharedMemory memory) => TeeReturnCode.Communication;

    public override ValueTask<TeeReturnCode> FreeAsync(TeeSharedMemory memory) => new(TeeReturnCode.Communication);

    public override void BeginWait()
    {
    }

    public override void EndWait()
    {
    }

    private protected override TeeReturnCode CallCore(uint command, int count) => TeeReturnCode.Communication;

    private protected override ValueTask<TeeReturnCode> CallCoreAsync(uint command, int count) =>
        new(TeeReturnCode.Communication);
}
