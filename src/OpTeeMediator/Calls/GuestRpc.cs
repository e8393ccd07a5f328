using System.Runtime.CompilerServices;
using System.Threading.Tasks.Sources;
using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;
using OpTeeMediator.SharedMemory;

namespace OpTeeMediator.Calls;

/// <summary>The backend's side of a slot's call to the guest: asked for by the backend's thread, carried by a vCPU's
/// (<see cref="RpcStateMachine"/>), answered to the backend's.</summary>
/// <remarks>The operation's phase orders the two: see <see cref="CallOperation"/>.</remarks>
internal sealed class GuestRpc(CallSlot slot) : GuestServices, IValueTaskSource<TeeReturnCode>
{
    private readonly List<SharedBuffer> _allocated = [];
    private ManualResetEventSlim? _answered;
    private ManualResetValueTaskSourceCore<TeeReturnCode> _core;
    private TeeReturnCode _answer;

    /// <summary>The command of the call that the guest is to make.</summary>
    public uint Command { get; private set; }

    /// <summary>How many parameters it has.</summary>
    public int Count { get; private set; }

    /// <summary>Memory that the guest allocated and did not get back yet.</summary>
    public List<SharedBuffer> Allocated => _allocated;

    /// <summary>What SHM_ALLOC was answered with, once checked.</summary>
    public SharedBuffer? NewBuffer { get; set; }

    /// <summary>Whether the slot's thread waits for the answer, and is held itself while the VM is paused.</summary>
    public bool IsBlocking { get; private set; }

    // Kept out of line: it returns the task in two registers. Inlined, it is written as small fields and copied as one
    // wide word, for which the processor waits.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private protected override ValueTask<TeeReturnCode> CallCoreAsync(uint command, int count)
    {
        if (slot is { Operation.IsOnWorker: true, Worker.IsCurrent: true })
        {
            // Were the thread let go, a backend that blocks for the result would wait for the thread it blocks.
            return new ValueTask<TeeReturnCode>(CallCore(command, count));
        }

        Begin(command, count, isBlocking: false);
        _core.Reset();
        _core.RunContinuationsAsynchronously = slot.Operation.IsOnWorker;
        return slot.TryRequestRpc() ? new ValueTask<TeeReturnCode>(this, _core.Version)
            : ValueTask.FromResult(TeeReturnCode.Communication);
    }

    private protected override TeeReturnCode CallCore(uint command, int count)
    {
        ThrowUnlessOnWorker();
        Begin(command, count, isBlocking: true);
        _answered ??= new ManualResetEventSlim(false);
        _answered.Reset();
        slot.BeginWait();
        try
        {
            if (!slot.TryRequestRpc())
            {
                return TeeReturnCode.Communication;
            }

            _answered.Wait();
            return _answer;
        }
        finally
        {
            slot.EndWait();
        }
    }

    public override void BeginWait()
    {
        ThrowUnlessOnWorker();
        slot.BeginWait();
    }

    public override void EndWait()
    {
        ThrowUnlessOnWorker();
        slot.EndWait();
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    public override async ValueTask<TeeSharedMemory?> AllocateAsync(GuestMemoryKind kind, int size)
    {
        PrepareAllocation(kind, size);
        _ = await CallCoreAsync(OpTeeRpc.AllocateSharedMemory, 1);
        return NewBuffer;
    }

    public override TeeSharedMemory? Allocate(GuestMemoryKind kind, int size)
    {
        PrepareAllocation(kind, size);
        _ = CallCore(OpTeeRpc.AllocateSharedMemory, 1);
        return NewBuffer;
    }

    public override ValueTask<TeeReturnCode> FreeAsync(TeeSharedMemory memory)
    {
        ReleaseToGuest(memory);
        return CallCoreAsync(OpTeeRpc.FreeSharedMemory, 1);
    }

    public override TeeReturnCode Free(TeeSharedMemory memory)
    {
        ThrowUnlessOnWorker();
        ReleaseToGuest(memory);
        return CallCore(OpTeeRpc.FreeSharedMemory, 1);
    }

    public void PrepareFree(SharedBuffer buffer) => PrepareFree((ulong)buffer.Kind, buffer.Cookie);

    public void PrepareFree(ulong kind, ulong cookie)
    {
        WritableParameters[0].SetValue(TeeParameterKind.ValueInput, kind, cookie);
        Command = OpTeeRpc.FreeSharedMemory;
        Count = 1;
    }

    /// <summary>Takes over a call of an earlier process, whose answer nobody waits for.</summary>
    public void Restore(uint command, int count) => Begin(command, count, isBlocking: false);

    /// <summary>Takes the guest's answer; the backend goes on, on this thread if it is inline.</summary>
    public void Answer(TeeReturnCode code)
    {
        if (IsBlocking)
        {
            _answer = code;
            _answered!.Set();
        }
        else
        {
            Continue(code);
        }
    }

    TeeReturnCode IValueTaskSource<TeeReturnCode>.GetResult(short token) => _core.GetResult(token);

    ValueTaskSourceStatus IValueTaskSource<TeeReturnCode>.GetStatus(short token) => _core.GetStatus(token);

    void IValueTaskSource<TeeReturnCode>.OnCompleted(Action<object?> continuation, object? state, short token,
        ValueTaskSourceOnCompletedFlags flags) =>
        _core.OnCompleted(continuation, state, token, slot.Operation.IsOnWorker ? flags
            : flags & ~ValueTaskSourceOnCompletedFlags.UseSchedulingContext);

    private void Continue(TeeReturnCode code)
    {
        try
        {
            _core.SetResult(code);
        }
        catch (Exception exception)
        {
            // A continuation of the backend's own making, outside of any async method.
            slot.NotifyBackendFailed(exception);
        }
    }

    private void PrepareAllocation(GuestMemoryKind kind, int size)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(size, 1);
        WritableParameters[0] =
            TeeParameter.Value(TeeParameterKind.ValueInput, (ulong)kind, (ulong)size, sizeof(ulong));
        NewBuffer = null;
    }

    private SharedBuffer Allocation(TeeSharedMemory memory) =>
        memory is SharedBuffer buffer && _allocated.Contains(buffer)
        ? buffer
        : throw new ArgumentException("Only memory that this operation allocated can be given back, and once.",
            nameof(memory));

    // First unpinned and out of the budget, then asked for: when the guest hears of it, the memory is its own again.
    private void ReleaseToGuest(TeeSharedMemory memory)
    {
        SharedBuffer buffer = Allocation(memory);
        if (!slot.Operation.MayRequestRpc)
        {
            throw CallOperation.CannotRequestRpc();
        }

        PrepareFree(buffer);
        _ = _allocated.Remove(buffer);
        slot.ReturnBuffer(buffer);
    }

    private void Begin(uint command, int count, bool isBlocking)
    {
        Command = command;
        Count = count;
        IsBlocking = isBlocking;
    }

    private void ThrowUnlessOnWorker()
    {
        if (slot is not { Operation.IsOnWorker: true, Worker.IsCurrent: true })
        {
            throw new InvalidOperationException(slot.Operation.IsOnWorker
                ? "Only the thread that is prepared for the operation may block: here, after an await that did not "
                    + "return to it, await CallAsync."
                : "An inline operation may not block: await CallAsync.");
        }
    }
}
