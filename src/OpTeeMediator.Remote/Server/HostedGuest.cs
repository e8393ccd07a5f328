using System.Runtime.CompilerServices;
using System.Threading.Tasks.Sources;
using OpTeeMediator.Backends;
using OpTeeMediator.Calls;
using OpTeeMediator.Remote.Framing;

namespace OpTeeMediator.Remote.Server;

/// <summary>The calls to the guest of one operation: asked for by the operation's thread, answered by the
/// connection's.</summary>
/// <param name="channel">The connection.</param>
/// <param name="files">Where memory lies that the guest allocates.</param>
internal sealed class HostedGuest(FrameChannel channel, HostedFiles files)
    : GuestServices, IValueTaskSource<TeeReturnCode>
{
    // What the client is being asked.
    private const int Nothing = 0;
    private const int Answer = 1;
    private const int Allocation = 2;
    private const int Wait = 3;
    private const int StatePiece = 4;

    private readonly FrameBuilder _frame = new();
    private readonly ManualResetEventSlim _answered = new(false);
    private readonly List<HostedMemory?> _allocated = [];
    private readonly Stack<HostedMemory> _spare = [];
    private ManualResetValueTaskSourceCore<TeeReturnCode> _core;
    private TeeReturnCode _answer;
    private HostedMemory? _newMemory;
    private Memory<byte> _piece;
    private uint _operation;
    private int _asked;
    private int _parameterCount;
    private bool _isBlocking;
    private bool _isOnWorker;
    private bool _isRunning;
    private volatile bool _isWaiting;
    private volatile bool _isGone;

    /// <summary>The thread that runs the operation where it may block.</summary>
    public OnDemandThread? Worker { get; set; }

    /// <summary>Whether the operation waits for the client, and touches nothing meanwhile.</summary>
    public bool IsQuiet => _isWaiting || Volatile.Read(ref _asked) != Nothing;

    /// <summary>Begins an operation.</summary>
    public void Begin(uint operation, bool isOnWorker)
    {
        _operation = operation;
        _isOnWorker = isOnWorker;
        _isRunning = true;
    }

    /// <summary>Ends the operation; what the guest has allocated for it, the client gives back.</summary>
    public void End()
    {
        _isRunning = false;
        _isWaiting = false;
        foreach (HostedMemory? memory in _allocated)
        {
            if (memory is not null)
            {
                _spare.Push(memory);
            }
        }

        _allocated.Clear();
    }

    /// <summary>The client is gone: calls, the present one too, return TEE_ERROR_COMMUNICATION.</summary>
    public void LoseClient()
    {
        _isGone = true;
        Interlocked.MemoryBarrier();
        if (Interlocked.Exchange(ref _asked, Nothing) != Nothing)
        {
            Deliver(TeeReturnCode.Communication);
        }
    }

    /// <summary>Takes the client's answer.</summary>
    /// <exception cref="ProtocolException">Nothing was asked, or the answer is not to it.</exception>
    public void TakeAnswer(uint operation, FrameReader body)
    {
        int asked = Volatile.Read(ref _asked);
        if (asked == Nothing || operation != _operation)
        {
            throw new ProtocolException($"an answer for operation {operation:x}, which asks for none");
        }

        TeeReturnCode code = (TeeReturnCode)body.ReadUInt32();
        if (body.ReadUInt32() != 0)
        {
            throw new ProtocolException("an answer with flags");
        }

        if (asked == Answer)
        {
            ReadOutputs(ref body);
        }
        else if (asked == Allocation && code == TeeReturnCode.Success)
        {
            ReadAllocation(ref body);
        }
        else if (asked == StatePiece && code == TeeReturnCode.Success)
        {
            body.Take(_piece.Length).CopyTo(_piece.Span);
        }

        body.End();
        if (Interlocked.CompareExchange(ref _asked, Nothing, asked) == asked)
        {
            Deliver(code);
        }
    }

    public override void BeginWait()
    {
        if (!_isGone)
        {
            _isWaiting = true;
            AskToWait(FrameType.BeginWait);
        }
    }

    public override void EndWait()
    {
        if (!_isGone)
        {
            AskToWait(FrameType.EndWait);
            _isWaiting = false;
        }
    }

    /// <summary>Sends the next piece of a saved state.</summary>
    /// <returns><see langword="false"/> if the client takes no more, or is gone.</returns>
    public bool TrySendState(ReadOnlySpan<byte> piece)
    {
        _frame.Begin(FrameType.State, channel.Partition, _operation);
        _frame.Write(piece);
        return AskAndWait(Wait) == TeeReturnCode.Success;
    }

    /// <summary>Asks for the next piece of a saved state.</summary>
    /// <param name="piece">Receives it.</param>
    /// <returns><see langword="false"/> if the client is gone, or sends no more.</returns>
    public bool TryReceiveState(Memory<byte> piece)
    {
        _piece = piece;
        _frame.Begin(FrameType.NextState, channel.Partition, _operation);
        return AskAndWait(StatePiece) == TeeReturnCode.Success;
    }

    public override TeeSharedMemory? Allocate(GuestMemoryKind kind, int size)
    {
        ThrowUnlessOnWorker();
        PrepareAllocation(kind, size);
        _ = AskAndWait(Allocation);
        return TakeAllocated(size);
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    public override async ValueTask<TeeSharedMemory?> AllocateAsync(GuestMemoryKind kind, int size)
    {
        PrepareAllocation(kind, size);
        _ = await AskAsync(Allocation);
        return TakeAllocated(size);
    }

    public override TeeReturnCode Free(TeeSharedMemory memory)
    {
        ThrowUnlessOnWorker();
        PrepareFree(memory);
        return AskAndWait(Wait);
    }

    public override ValueTask<TeeReturnCode> FreeAsync(TeeSharedMemory memory)
    {
        PrepareFree(memory);
        return AskAsync(Wait);
    }

    private protected override TeeReturnCode CallCore(uint command, int count)
    {
        ThrowUnlessOnWorker();
        PrepareCall(command, count);
        return AskAndWait(Answer);
    }

    private protected override ValueTask<TeeReturnCode> CallCoreAsync(uint command, int count)
    {
        PrepareCall(command, count);
        return AskAsync(Answer);
    }

    TeeReturnCode IValueTaskSource<TeeReturnCode>.GetResult(short token) => _core.GetResult(token);

    ValueTaskSourceStatus IValueTaskSource<TeeReturnCode>.GetStatus(short token) => _core.GetStatus(token);

    void IValueTaskSource<TeeReturnCode>.OnCompleted(Action<object?> continuation, object? state, short token,
        ValueTaskSourceOnCompletedFlags flags) =>
        _core.OnCompleted(continuation, state, token, _isOnWorker ? flags
            : flags & ~ValueTaskSourceOnCompletedFlags.UseSchedulingContext);

    private bool IsOnWorker => _isOnWorker && Worker is { IsCurrent: true };

    private void PrepareCall(uint command, int count)
    {
        ThrowUnlessFree();
        _parameterCount = count;
        _frame.Begin(FrameType.GuestCall, channel.Partition, _operation);
        _frame.Write(command);
        _frame.Write((uint)count);
        foreach (ref readonly TeeParameter parameter in Parameters[..count])
        {
            uint memory = FrameFormat.NoMemory;
            if (parameter.Memory is { } shared)
            {
                int index = _allocated.IndexOf(shared as HostedMemory);
                memory = index >= 0 ? (uint)index : throw new ArgumentException(
                    "A call to the guest may refer only to memory that its operation has allocated.", nameof(command));
            }

            ParameterCodec.Write(_frame, parameter, memory);
        }
    }

    private void PrepareAllocation(GuestMemoryKind kind, int size)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(size, 1);
        ThrowUnlessFree();
        _newMemory = null;
        _frame.Begin(FrameType.Allocate, channel.Partition, _operation);
        _frame.Write((uint)kind);
        _frame.Write((uint)size);
    }

    private void PrepareFree(TeeSharedMemory memory)
    {
        ThrowUnlessFree();
        int index = memory is HostedMemory hosted ? _allocated.IndexOf(hosted) : -1;
        if (index < 0)
        {
            throw new ArgumentException(
                "Only memory that this operation allocated can be given back, and once.", nameof(memory));
        }

        _allocated[index] = null;
        _spare.Push((HostedMemory)memory);
        _frame.Begin(FrameType.Free, channel.Partition, _operation);
        _frame.Write((uint)index);
    }

    private HostedMemory? TakeAllocated(int size)
    {
        HostedMemory? memory = _newMemory;
        _newMemory = null;

        // The client gives it back when the operation ends.
        return memory is not null && memory.Size >= (ulong)size ? memory : null;
    }

    private void AskToWait(FrameType type)
    {
        ThrowUnlessOnWorker();
        ThrowUnlessFree();
        _frame.Begin(type, channel.Partition, _operation);
        _ = AskAndWait(Wait);
    }

    private TeeReturnCode AskAndWait(int what)
    {
        _isBlocking = true;
        _answered.Reset();
        if (!TryAsk(what))
        {
            return TeeReturnCode.Communication;
        }

        _answered.Wait();
        return _answer;
    }

    private ValueTask<TeeReturnCode> AskAsync(int what)
    {
        if (IsOnWorker || _isGone)
        {
            // As in the VMM: the thread has nothing else to do.
            return new ValueTask<TeeReturnCode>(AskAndWait(what));
        }

        _isBlocking = false;
        _core.Reset();
        _core.RunContinuationsAsynchronously = _isOnWorker;
        short version = _core.Version;
        return TryAsk(what) ? new ValueTask<TeeReturnCode>(this, version)
            : ValueTask.FromResult(TeeReturnCode.Communication);
    }

    /// <returns><see langword="false"/> if nobody answers, with nothing asked.</returns>
    private bool TryAsk(int what)
    {
        _ = Interlocked.Exchange(ref _asked, what);

        // Who loses the client either is seen here, or sees the question.
        bool isSent = !_isGone && channel.TrySend(_frame.Frame);
        return isSent || Interlocked.Exchange(ref _asked, Nothing) == Nothing;
    }

    private void Deliver(TeeReturnCode code)
    {
        if (_isBlocking)
        {
            _answer = code;
            _answered.Set();
        }
        else
        {
            _core.SetResult(code);
        }
    }

    private void ReadOutputs(ref FrameReader body)
    {
        for (int index = 0; index < _parameterCount; index++)
        {
            ulong first = body.ReadUInt64();
            ulong second = body.ReadUInt64();
            ulong third = body.ReadUInt64();
            ref TeeParameter parameter = ref WritableParameters[index];
            if (!parameter.IsOutput)
            {
                continue;
            }

            if (parameter.IsMemory)
            {
                parameter.Size = second;
            }
            else
            {
                (parameter.A, parameter.B, parameter.C) = (first, second, third);
            }
        }
    }

    private void ReadAllocation(ref FrameReader body)
    {
        if (_allocated.Count == FrameFormat.Allocations)
        {
            throw new ProtocolException($"more than {FrameFormat.Allocations} allocations for one operation");
        }

        HostedMemory memory = _spare.TryPop(out HostedMemory? spare) ? spare : new HostedMemory(isTemporary: true);
        memory.Describe(ref body, files, FrameFormat.RangesPerAllocation);
        _allocated.Add(memory);
        _newMemory = memory;
    }

    private void ThrowUnlessFree()
    {
        if (!_isRunning && !_isGone)
        {
            throw new InvalidOperationException("The guest can be called only while the operation runs.");
        }

        if (Volatile.Read(ref _asked) != Nothing)
        {
            throw new InvalidOperationException("A call to the guest is being made already; await it first.");
        }
    }

    private void ThrowUnlessOnWorker()
    {
        if (!IsOnWorker && !_isGone)
        {
            throw new InvalidOperationException(_isOnWorker
                ? "Only the thread that is prepared for the operation may block: here, after an await that did not "
                    + "return to it, await CallAsync."
                : "An inline operation may not block: await CallAsync.");
        }
    }
}
