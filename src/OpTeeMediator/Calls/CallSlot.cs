using System.Runtime.CompilerServices;
using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.SharedMemory;

namespace OpTeeMediator.Calls;

/// <summary>All that one yielding call needs, prepared in advance: its owner, request, operation and buffers.</summary>
/// <remarks>Only the thread that has the call (<see cref="CallOwnership"/>) touches it, except for what is marked as
/// published and what is said to be thread-safe.</remarks>
internal sealed class CallSlot
{
    // A cache line with the array's own three words.
    private const int SeparationLength = 64 - (3 * sizeof(ulong));

    private readonly ICallOwner _owner;
    private readonly PauseControl _pause;
    private readonly CallObserver _observer;
    private readonly CallWaiters _waiters;
    private readonly CallCancellation _cancellation;
    private Action? _onCompleted;
    private ValueTaskAwaiter<TeeResult> _awaiter;
    private CallOwnership _ownership;
    private Message _message;
    private CallBuffers _buffers;
    private Session? _session;
    private DriverInstance? _driverInstance;
    private int _isAwaited;

    public CallSlot(ICallOwner owner, CallWaiters waiters, int index)
    {
        _owner = owner;
        _pause = owner.Pause;
        _observer = owner.Observer;
        _waiters = waiters;
        Index = index;
        Timeline = new CallTimeline(index);
        Rpc = new GuestRpc(this);
        Request = new TeeRequest { Guest = Rpc };
        Sleep = new CallSleep(owner.Notifications, NotificationQueue.ValueOf(index));
        _cancellation = new CallCancellation(Request, Operation, _pause, owner.Operations);
        Separation = new byte[SeparationLength];
    }

    public int Index { get; }

    /// <summary>Lies between the objects of this slot, as their last, and those of the next one: else two vCPUs use
    /// one cache line, and each call of one slows down the other.</summary>
    public byte[] Separation { get; }

    /// <summary>The operation: which, in which phase. Thread-safe.</summary>
    public CallOperation Operation { get; } = new();

    /// <summary>How the call's time divides, if somebody observes it.</summary>
    public CallTimeline Timeline { get; }

    /// <summary>The sleep of the guest's thread. Thread-safe.</summary>
    public CallSleep Sleep { get; }

    public GuestRpc Rpc { get; }

    /// <summary>The thread that runs the call's operation where it may block, once one has been needed.</summary>
    public OnDemandThread? Worker { get; set; }

    /// <summary>The decoded operation. The backend writes to it: what the call holds is not derived from it.</summary>
    public TeeRequest Request { get; }

    public ref Message Message => ref _message;

    /// <summary>Where the guest finds the results.</summary>
    public GuestAddress MessageAddress { get; set; }

    /// <summary>How many parameters the message has before those of the request.</summary>
    public int FirstParameter { get; set; }

    /// <summary>Whether a parameter names memory for this call only.</summary>
    public bool NeedsTemporaryBuffers { get; set; }

    /// <summary>What the guest is asked for while the call is suspended.</summary>
    public RpcStage Stage { get; set; }

    /// <summary>The offset of RPC messages, in bytes, if the guest has supplied room with the call; else 0.</summary>
    public int RpcOffset { get; set; }

    /// <summary>Memory for RPC messages that the guest has allocated, once the call has needed it.</summary>
    public RpcBuffer? RpcBuffer { get; set; }

    /// <summary>Whether the guest refused to let this call sleep.</summary>
    public bool CannotSleep { get; set; }

    /// <summary>Published: the session that the call uses, of an invocation only.</summary>
    /// <remarks>Set with release, after the message was copied: a canceller that finds the session (acquire) finds the
    /// message's cancellation id. Cleared with release: who waits until no call uses the session (acquire) sees all
    /// that the call has done.</remarks>
    public Session? Session
    {
        get => Volatile.Read(ref _session);
        set => Volatile.Write(ref _session, value);
    }

    /// <summary>Published: the driver instance that the call belongs to.</summary>
    /// <remarks>Cleared with release, as the last of what is published: who waits until no call belongs to the life
    /// (acquire) sees all that its calls have done, on whichever thread, because a backend's thread hands its result
    /// over by a full fence (<see cref="CallOperation.Complete"/>).</remarks>
    public DriverInstance? DriverInstance
    {
        get => Volatile.Read(ref _driverInstance);
        set => Volatile.Write(ref _driverInstance, value);
    }

    /// <summary>The shared memory that the parameters name. Published: which buffers the call uses.</summary>
    public ref CallBuffers Buffers => ref _buffers;

    /// <summary>The session that the call opens or closes, or the buffer that it registers or unregisters.</summary>
    public Session? OwnSession { get; set; }

    /// <inheritdoc cref="OwnSession"/>
    public SharedBuffer? Buffer { get; set; }

    /// <summary>Thread-safe.</summary>
    public CallState State => _ownership.State;

    /// <summary>Which resume information is valid, for <see cref="Restore"/>.</summary>
    public int Generation => _ownership.Generation;

    /// <summary>Whether the backend is not at work nor about to be, if the VM is paused. Thread-safe.</summary>
    public bool IsQuiet => State == CallState.Free || Operation.IsQuiet;

    /// <summary>Whether the backend has no operation of the slot, nor is about to, if nothing may begin.
    /// Thread-safe.</summary>
    public bool IsDrained => State == CallState.Free || Operation.IsDrained;

    /// <inheritdoc cref="CallOwnership.Restore"/>
    public void Restore(int generation, CallState state) => _ownership.Restore(generation, state);

    /// <inheritdoc cref="CallOwnership.TryTake"/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryTake() => _ownership.TryTake();

    /// <summary>Whether the call uses what another one takes away: its session, or its buffer. Thread-safe.</summary>
    public bool Uses(CallSlot taker) => taker.Operation.Kind == TeeOperation.CloseSession
        ? Session == taker.OwnSession : _buffers.Contains(taker.Buffer!);

    /// <summary>Begins to prepare the call: nothing is left of an earlier attempt or of the previous call.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Clear()
    {
        Session = null;
        if (_buffers.IsAnyUsed)
        {
            ClearBuffers();
        }

        OwnSession = null;
        Buffer = null;
        FirstParameter = 0;
        NeedsTemporaryBuffers = false;
        CannotSleep = false;
        Stage = RpcStage.None;
        SetOperation(TeeOperation.None);
        Request.Session = null;
        _cancellation.Clear();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void SetOperation(TeeOperation kind)
    {
        Operation.Kind = kind;
        Request.Operation = kind;
    }

    /// <summary>Gives the call to the guest, to be resumed by the resume information.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public uint Suspend()
    {
        DriverInstance driverInstance = DriverInstance!;
        uint resumeInformation = _ownership.Suspend(Index);
        if (driverInstance.IsRetired)
        {
            // The retiring thread has passed already or will find the slot in the new state; one of the two succeeds.
            TryAbandon(driverInstance);
        }

        return resumeInformation;
    }

    /// <inheritdoc cref="CallOwnership.TryResume"/>
    public bool TryResume(uint resumeInformation) => _ownership.TryResume(resumeInformation);

    /// <summary>Ends a call that the guest holds and will not resume. It is freed when its backend has returned,
    /// at once if it has. Thread-safe.</summary>
    public void TryAbandon(DriverInstance driverInstance)
    {
        // In this order: if the call ended meanwhile, its state has a new generation and the swap fails.
        if (!_ownership.IsSuspended(out int word) || DriverInstance != driverInstance || !_ownership.TryAbandon(word))
        {
            return;
        }

        Sleep.End();
        if (!Operation.TryOrphan(out bool wasCalling))
        {
            _owner.ReleaseAbandoned(this);
        }
        else if (wasCalling)
        {
            Answer(TeeReturnCode.Communication);
        }
    }

    /// <summary>Has an operation that did not complete at once end with <see cref="Complete"/>.</summary>
    public void Await(ValueTask<TeeResult> operation)
    {
        _awaiter = operation.GetAwaiter();
        Volatile.Write(ref _isAwaited, 1);
        try
        {
            _awaiter.UnsafeOnCompleted(_onCompleted ??= CompleteFromAwaiter);
        }
        catch (Exception) when (Interlocked.Exchange(ref _isAwaited, 0) == 0)
        {
            // The backend's own awaitable has both thrown and completed: the completion counts.
        }
    }

    /// <summary>Ends the operation. Called once by whichever thread saw it end.</summary>
    public void Complete(TeeResult result)
    {
        if (Timeline.IsObserved)
        {
            _observer.EndWork(Timeline, _message.Header.Command);
        }

        if (Operation.Complete(result))
        {
            _owner.ReleaseAbandoned(this);
        }
        else
        {
            Wake();
        }
    }

    /// <summary>The backend threw where nothing can be answered.</summary>
    public void NotifyBackendFailed(Exception exception) =>
        _ = _owner.Operations.BackendFailed(Operation.Kind, exception);

    /// <inheritdoc cref="CallOperation.TryRequestRpc"/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryRequestRpc()
    {
        if (Timeline.IsObserved)
        {
            _observer.EndWork(Timeline, _message.Header.Command);
        }

        bool isRequested = Operation.TryRequestRpc();
        if (isRequested)
        {
            Wake();
        }

        return isRequested;
    }

    /// <summary>The guest has answered: the backend goes on.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void EndRpc(TeeReturnCode answer)
    {
        if (Operation.TryEndRpc())
        {
            InterleavingPoint.Reach("CallSlot.EndRpc: backend may go on");
            Answer(answer);
        }
    }

    /// <summary>The VM may have been resumed: tells the backend what the guest has answered.</summary>
    public void AnswerAfterPause()
    {
        if (Operation.TryGoOn(OperationPhase.AnswerKept))
        {
            Answer(Operation.KeptAnswer);
        }
    }

    /// <summary>The VM was resumed, or is being reset or disposed of: does what a pause has put off for a call
    /// that nobody waits for. Thread-safe.</summary>
    public void GoOnAfterPause()
    {
        _cancellation.Enter();
        if (DriverInstance is { } driverInstance)
        {
            _cancellation.GoOnAfterPause(driverInstance);
        }

        _cancellation.Leave();
        if (Operation.TryGoOn(OperationPhase.OrphanedAnswerKept))
        {
            // Not before Leave: an inline operation goes on here, and its end frees the slot.
            Answer(TeeReturnCode.Communication);
        }
    }

    /// <inheritdoc cref="CallOperation.BeginWaitOutside"/>
    public void BeginWait() => Operation.BeginWaitOutside();

    /// <summary>The operation goes on, after a pause.</summary>
    public void EndWait()
    {
        DriverInstance driverInstance = DriverInstance!;
        while (true)
        {
            Operation.EndWaitOutside();
            if (!_pause.Holds(driverInstance))
            {
                return;
            }

            Operation.BeginWaitOutside();
            _pause.WaitUntilReleased(driverInstance);
        }
    }

    /// <summary>Tells a VMM that tracks writes what the backend may have written for the operation.</summary>
    public void NotifyWritten()
    {
        foreach (ref readonly TeeParameter parameter in Request.Parameters)
        {
            if (parameter.IsOutput && parameter.Memory is SharedBuffer buffer)
            {
                buffer.NotifyWritten(parameter.Offset, parameter.Capacity);
            }
        }

        foreach (SharedBuffer allocated in Rpc.Allocated)
        {
            allocated.NotifyWritten(0, allocated.Size);
        }
    }

    public void ReturnBuffer(SharedBuffer buffer) => _owner.ReturnBuffer(buffer);

    /// <summary>Has an invocation in this session with this id end early. Thread-safe.</summary>
    public void TryCancel(Session session, uint cancelId)
    {
        _cancellation.Enter();
        if (Session == session && _message.Header.CancelId == cancelId && DriverInstance is { } driverInstance)
        {
            _cancellation.Request(driverInstance);
        }

        _cancellation.Leave();
    }

    /// <summary>Has the call end early, whatever it is, if it belongs to a driver instance. Thread-safe.</summary>
    public void TryCancel(DriverInstance driverInstance)
    {
        _cancellation.Enter();
        if (DriverInstance == driverInstance)
        {
            _cancellation.End(driverInstance);
        }

        _cancellation.Leave();
    }

    /// <inheritdoc cref="CallCancellation.Deliver"/>
    public void DeliverCancellation(bool wasCancelled, bool wasTerminated) =>
        _cancellation.Deliver(DriverInstance!, wasCancelled, wasTerminated);

    /// <summary>Ends the call and frees the slot.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Release()
    {
        // First nobody finds the call any more, then a fence, then those are waited for who found it before. What the
        // call has done comes before all of it, as each is cleared with release: who sees it cleared (acquire) may
        // take away what the call used.
        Session = null;
        if (_buffers.IsAnyUsed)
        {
            ClearBuffers();
        }

        DriverInstance = null;
        _ownership.BeginRelease();
        if (_cancellation.HasCancellers || _waiters.Any)
        {
            _waiters.Wake();
            _cancellation.WaitForCancellers();
        }

        _ownership.EndRelease();
    }

    // While the VM is paused, the answer is kept. A blocked worker is told, and held itself.
    private void Answer(TeeReturnCode answer)
    {
        while (!Rpc.IsBlocking && IsToHold)
        {
            if (!Operation.TryKeepAnswer(answer, out OperationPhase kept))
            {
                // The operation has ended without waiting for the answer.
                return;
            }

            // Who ends the pause looks for kept answers afterwards. Of the two one succeeds in taking it.
            if (IsToHold || !Operation.TryGoOn(kept))
            {
                return;
            }
        }

        if (Timeline.IsObserved)
        {
            Timeline.BackendBegins();
        }

        Rpc.Answer(answer);
    }

    private bool IsToHold => DriverInstance is { } driverInstance && _pause.Holds(driverInstance);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Wake()
    {
        Operation.Wake();
        Sleep.Wake();
    }

    private void ClearBuffers()
    {
        _buffers.Clear();
        foreach (ref TeeParameter parameter in Request.WritableParameters)
        {
            parameter.SetNone();
        }
    }

    private void CompleteFromAwaiter()
    {
        if (Interlocked.Exchange(ref _isAwaited, 0) == 0)
        {
            return;
        }

        TeeResult result;
        try
        {
            result = _awaiter.GetResult();
        }
        catch (Exception exception)
        {
            result = _owner.Operations.BackendFailed(Operation.Kind, exception);
        }

        Complete(result);
    }
}
