using System.Diagnostics;
using System.Numerics;
using System.Runtime.CompilerServices;
using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.SharedMemory;

namespace OpTeeMediator.Calls;

/// <summary>Everything one yielding call needs, prepared in advance: its state, its decoded request, its
/// wait for the backend.</summary>
/// <remarks>
/// <para>The state word is the generation (24 bits) and the <see cref="CallState"/>; a change of state is
/// one compare-and-swap, so that a forged, stale or doubled resume fails there. Only who has moved the slot
/// to <see cref="CallState.Running"/> or <see cref="CallState.Abandoned"/> touches the rest, except for what
/// is marked as published.</para>
/// </remarks>
internal sealed class CallSlot
{
    private const int StateBits = 8;
    private const int StateMask = (1 << StateBits) - 1;

    // What _completion says.
    private const int Pending = 0;
    private const int Finished = 1;
    private const int Orphaned = 2;
    private const int RpcRequested = 3;
    private const int RpcOutstanding = 4;

    // The guest has answered, or is gone, and the VM is paused: the backend is told afterwards.
    private const int AnswerKept = 5;
    private const int OrphanedAnswerKept = 6;

    // The call is not with the backend yet.
    private const int Preparing = 7;

    private readonly ICallOwner _owner;
    private readonly PauseControl _pause;
    private readonly CallWaiters _waiters;
    private readonly ManualResetEventSlim _event = new(false);
    private readonly Action _onCompleted;
    private ValueTaskAwaiter<TeeResult> _awaiter;
    private Message _message;
    private Session? _session;
    private DriverInstance? _driverInstance;
    private BufferIds _buffers;
    private TemporaryBuffers _temporary;
    private int _temporaryBuffers;
    private TeeOperation _operation;
    private bool _hasBuffers;
    private int _state;
    private int _completion = Finished;
    private int _cancellers;
    private int _isCancelDelivered;
    private int _isTerminationDelivered;
    private int _canBeWoken;
    private int _isWaitedFor;
    private int _isAwaited;
    private volatile bool _isAsleep;
    private volatile bool _isHeld;
    private volatile bool _isDraining;
    private volatile bool _waitsOutside;
    private TeeReturnCode _keptAnswer;
    private Timer? _wakeTimer;

    public CallSlot(ICallOwner owner, CallWaiters waiters, int index)
    {
        _owner = owner;
        _pause = owner.Pause;
        _waiters = waiters;
        Index = index;
        _onCompleted = CompleteFromAwaiter;
        Rpc = new GuestRpc(this);
        Request = new TeeRequest { Guest = Rpc };
    }

    public int Index { get; }

    /// <summary>The private copy of the message.</summary>
    public ref Message Message => ref _message;

    /// <summary>The decoded operation. The backend writes to it: what the call holds is not derived from it.</summary>
    public TeeRequest Request { get; }

    /// <summary>The operation, whatever the backend makes of the request's.</summary>
    public TeeOperation Operation
    {
        get => _operation;
        set
        {
            _operation = value;
            Request.Operation = value;
        }
    }

    /// <summary>The calls to the guest that the operation makes.</summary>
    public GuestRpc Rpc { get; }

    /// <summary>What the guest is asked for while the call is suspended.</summary>
    public RpcStage Stage { get; set; }

    /// <summary>How far behind the message RPC messages go, in bytes, if the guest has supplied room with the call
    /// (RPC_ARG); else 0.</summary>
    public int RpcOffset { get; set; }

    /// <summary>Memory for RPC messages that the guest has allocated, once the call has needed it.</summary>
    public RpcBuffer? RpcBuffer { get; set; }

    /// <summary>When the guest's thread began to wait for the operation, by <see cref="Stopwatch"/>; 0 if it has not
    /// since the guest was last asked.</summary>
    public long WaitsSince { get; set; }

    /// <summary>Whether the guest refused to let this call sleep.</summary>
    public bool CannotSleep { get; set; }

    /// <summary>Whether the call waits for the VM to go on before its operation begins.</summary>
    public bool IsHeld
    {
        get => _isHeld;
        set => _isHeld = value;
    }

    /// <summary>Whether the backend may still end the operation by <see cref="Complete"/>.</summary>
    public bool IsWithBackend { get; set; }

    /// <summary>Whether the operation was given to the worker.</summary>
    public bool IsOnWorker { get; set; }

    /// <summary>Published: the session that the call uses, of an invocation only.</summary>
    /// <remarks>
    /// Set with release, after the message was copied: a canceller that finds the session (acquire) finds the
    /// message's cancellation id. Cleared with release: who waits until no call uses the session (acquire)
    /// sees all that the call has done.
    /// </remarks>
    public Session? Session
    {
        get => Volatile.Read(ref _session);
        set => Volatile.Write(ref _session, value);
    }

    /// <summary>Published: the driver instance that the call belongs to.</summary>
    /// <remarks>
    /// Cleared with release, as the last of what is published: who waits until no call belongs to the life (acquire)
    /// sees all that its calls have done, on whichever thread, because a backend's thread hands its result over by a
    /// full fence (<see cref="Complete"/>).
    /// </remarks>
    public DriverInstance? DriverInstance
    {
        get => Volatile.Read(ref _driverInstance);
        set => Volatile.Write(ref _driverInstance, value);
    }

    /// <summary>The session that the call opens or closes, or the buffer that it registers or unregisters.</summary>
    public Session? OwnSession { get; set; }

    /// <inheritdoc cref="OwnSession"/>
    public SharedBuffer? Buffer { get; set; }

    /// <summary>Why the guest's message is refused, for the log; <see langword="null"/> if it is not, or if that
    /// is logged already.</summary>
    public string? Refusal { get; set; }

    /// <summary>Notes why the message is refused.</summary>
    /// <returns><paramref name="answer"/>, what it is answered.</returns>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public T Refuse<T>(T answer, string reason)
        where T : struct
    {
        Refusal = reason;
        return answer;
    }

    /// <summary>Where the guest finds the results.</summary>
    public GuestAddress MessageAddress { get; set; }

    /// <summary>How many parameters the message has before those of the request.</summary>
    public int FirstParameter { get; set; }

    /// <summary>Whether a parameter names memory for this call only.</summary>
    public bool NeedsTemporaryBuffers { get; set; }

    /// <summary>Whether the call has buffers of its own, from <see cref="Attach"/>.</summary>
    public bool HasTemporaryBuffers => _temporaryBuffers != 0;

    /// <summary>The thread that runs the call's operation where it may block.</summary>
    public CallWorker? Worker { get; set; }

    /// <summary>What the backend answered, once <see cref="WaitForBackend"/> says so.</summary>
    public TeeResult Result { get; private set; }

    /// <summary>Whether the call waits until nobody else uses what it takes away, before
    /// its operation begins.</summary>
    public bool IsDraining
    {
        get => _isDraining;
        set => _isDraining = value;
    }

    public CallState State => (CallState)(Volatile.Read(ref _state) & StateMask);

    /// <summary>The index in resume information; −1 if it can be of no slot.</summary>
    public static int IndexOf(uint resumeInformation) => (int)(resumeInformation & StateMask) - 1;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryTake()
    {
        int state = _state;
        return (state & StateMask) == (int)CallState.Free
            && Interlocked.CompareExchange(ref _state, state | (int)CallState.Running, state) == state;
    }

    /// <summary>Begins an attempt to prepare the call: nothing is left of an earlier attempt, or of the
    /// slot's previous call.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Clear()
    {
        Session = null;
        if (_hasBuffers)
        {
            ClearBuffers();
        }

        OwnSession = null;
        Buffer = null;
        FirstParameter = 0;
        NeedsTemporaryBuffers = false;
        IsDraining = false;
        IsHeld = false;
        IsWithBackend = false;
        IsOnWorker = false;
        CannotSleep = false;
        Stage = RpcStage.None;
        _isCancelDelivered = 0;
        _isTerminationDelivered = 0;
        Operation = TeeOperation.None;
        Request.Session = null;
        Request.ResetCancellation();
    }

    /// <summary>Publishes that the call uses a registered buffer.</summary>
    /// <remarks>With release, as all that is published; the fence of
    /// <see cref="SequenceLock.IsUnchanged"/> comes after it.</remarks>
    public void Use(int parameter, SharedBuffer buffer)
    {
        _hasBuffers = true;
        Volatile.Write(ref _buffers[parameter], buffer.Id);
    }

    /// <summary>Gives the call a buffer that is for this call only.</summary>
    public void Attach(int parameter, SharedBuffer buffer)
    {
        Use(parameter, buffer);
        _temporary[parameter] = buffer;
        _temporaryBuffers |= 1 << parameter;
    }

    /// <summary>Takes any one buffer out that is for this call only; those that are left do not depend on what the
    /// backend did to the request.</summary>
    /// <returns><see langword="null"/> if the call has none.</returns>
    public SharedBuffer? DetachAny()
    {
        if (_temporaryBuffers == 0)
        {
            return null;
        }

        int parameter = BitOperations.TrailingZeroCount(_temporaryBuffers);
        _temporaryBuffers &= _temporaryBuffers - 1;
        SharedBuffer? buffer = _temporary[parameter];
        _temporary[parameter] = null;
        Volatile.Write(ref _buffers[parameter], 0);
        return buffer;
    }

    /// <summary>Gives the call to the guest, to be resumed.</summary>
    /// <returns>The resume information, by which alone the guest can go on: generation and index; never 0.</returns>
    public uint Suspend()
    {
        DriverInstance driverInstance = DriverInstance!;
        uint generation = ((uint)_state & ~(uint)StateMask) + (1u << StateBits);
        uint resumeInformation = generation | (uint)(Index + 1);
        _ = Interlocked.Exchange(ref _state, (int)(generation | (uint)CallState.Suspended));
        if (driverInstance.IsRetired)
        {
            // The retiring thread has passed already or will find the slot in the new state;
            // only one of the two succeeds.
            TryAbandon(driverInstance);
        }

        return resumeInformation;
    }

    /// <summary>Takes the call back from the guest.</summary>
    /// <returns><see langword="false"/> if no call of this slot waits for this resume information.</returns>
    public bool TryResume(uint resumeInformation)
    {
        int generation = (int)(resumeInformation & ~(uint)StateMask);
        int suspended = generation | (int)CallState.Suspended;
        return Interlocked.CompareExchange(ref _state, generation | (int)CallState.Running, suspended) == suspended;
    }

    /// <summary>Ends a call that the guest holds and will not resume. It is freed when its backend has returned,
    /// at once if it has.</summary>
    public void TryAbandon(DriverInstance driverInstance)
    {
        // In this order: if the call ended meanwhile, its state has a new generation and the swap fails.
        int state = Volatile.Read(ref _state);
        int abandoned = (state & ~StateMask) | (int)CallState.Abandoned;
        if ((state & StateMask) == (int)CallState.Suspended
            && DriverInstance == driverInstance
            && Interlocked.CompareExchange(ref _state, abandoned, state) == state)
        {
            EndSleep();
            if (HasNoBackend())
            {
                _owner.ReleaseAbandoned(this);
            }
        }
    }

    /// <summary>Whether the abandoned call's operation has not begun or has ended; otherwise it is told that
    /// the guest is gone.</summary>
    private bool HasNoBackend()
    {
        if (IsDraining || IsHeld)
        {
            return true;
        }

        int completion = Volatile.Read(ref _completion);
        while (completion != Finished)
        {
            int seen = Interlocked.CompareExchange(ref _completion, Orphaned, completion);
            if (seen == completion)
            {
                if (completion is RpcRequested or RpcOutstanding or AnswerKept)
                {
                    AnswerUnlessHeld(TeeReturnCode.Communication, Orphaned, OrphanedAnswerKept);
                }

                return false;
            }

            completion = seen;
        }

        return true;
    }

    /// <summary>
    /// Begins the preparation of a call. A full fence must follow, then, before <see cref="ExpectBackend"/>, a look at
    /// <see cref="PauseControl.IsPaused"/>: who pauses the VM either is seen there, or sees that an operation may
    /// begin (<see cref="IsQuiet"/>).
    /// </summary>
    public void BeginPreparation()
    {
        _waitsOutside = false;
        Volatile.Write(ref _completion, Preparing);
    }

    /// <summary>The operation is with the backend from now on: it can be cancelled, and is waited for.</summary>
    public void ExpectBackend() => Volatile.Write(ref _completion, Pending);

    /// <summary>The operation has ended on the thread that began it.</summary>
    public void EndAtOnce() => Volatile.Write(ref _completion, Finished);

    /// <summary>Has an operation that did not complete at once end with <see cref="Complete"/>.</summary>
    public void Await(ValueTask<TeeResult> operation)
    {
        _awaiter = operation.GetAwaiter();
        Volatile.Write(ref _isAwaited, 1);
        try
        {
            _awaiter.UnsafeOnCompleted(_onCompleted);
        }
        catch (Exception) when (Interlocked.Exchange(ref _isAwaited, 0) == 0)
        {
            // The backend's own awaitable has both thrown and completed: the completion counts.
        }
    }

    /// <summary>Ends the operation. Called once by whichever thread saw it end.</summary>
    public void Complete(TeeResult result)
    {
        Result = result;
        if (Interlocked.Exchange(ref _completion, Finished) is Orphaned or OrphanedAnswerKept)
        {
            _owner.ReleaseAbandoned(this);
        }
        else
        {
            Wake();
        }
    }

    /// <summary>The backend threw where nothing can be answered.</summary>
    public void NotifyBackendFailed(Exception exception) => _ = _owner.BackendFailed(Operation, exception);

    /// <summary>The backend wants to call the guest.</summary>
    /// <returns><see langword="false"/> if the guest is gone.</returns>
    /// <exception cref="InvalidOperationException">A call is being made already, or no operation runs.</exception>
    public bool TryRequestRpc()
    {
        switch (Interlocked.CompareExchange(ref _completion, RpcRequested, Pending))
        {
            case Pending:
                Wake();
                return true;

            case Orphaned:
            case OrphanedAnswerKept:
                return false;

            default:
                throw CannotRequestRpc();
        }
    }

    /// <summary>Whether <see cref="TryRequestRpc"/> does not throw.</summary>
    public bool CanRequestRpc => Volatile.Read(ref _completion) is Pending or Orphaned or OrphanedAnswerKept;

    public static InvalidOperationException CannotRequestRpc() =>
        new("A backend can make one call to the guest at a time, and only while its operation runs.");

    /// <summary>The guest is told of the call. The operation may have ended nevertheless, if its backend did not
    /// wait for the answer.</summary>
    public void BeginRpc() => _ = Interlocked.CompareExchange(ref _completion, RpcOutstanding, RpcRequested);

    /// <summary>The guest has answered: the backend goes on.</summary>
    public void EndRpc(TeeReturnCode answer)
    {
        int completion = Volatile.Read(ref _completion);
        if (completion is RpcRequested or RpcOutstanding
            && Interlocked.CompareExchange(ref _completion, Pending, completion) == completion)
        {
            InterleavingPoint.Reach("CallSlot.EndRpc: backend may go on");
            AnswerUnlessHeld(answer, Pending, AnswerKept);
        }
    }

    /// <summary>Whether the guest has answered while the VM was paused, and the backend does not know yet.</summary>
    public bool KeepsAnswer => Volatile.Read(ref _completion) == AnswerKept;

    /// <summary>The VM may have been resumed: tells the backend what the guest has answered.</summary>
    public void AnswerAfterPause()
    {
        if (Interlocked.CompareExchange(ref _completion, Pending, AnswerKept) == AnswerKept)
        {
            AnswerUnlessHeld(_keptAnswer, Pending, AnswerKept);
        }
    }

    /// <summary>The VM was resumed, or is being reset or disposed of: does what a pause has put off for a call
    /// that nobody waits for.</summary>
    public void GoOnAfterPause()
    {
        // As in TryCancel: from here on the slot is not freed.
        _ = Interlocked.Increment(ref _cancellers);
        if (DriverInstance is { } driverInstance)
        {
            if (driverInstance.IsRetired)
            {
                EndOperation(driverInstance);
            }

            if (Request.IsCancellationRequested && IsRunning)
            {
                CancelOperation(driverInstance);
            }
        }

        _ = Interlocked.Decrement(ref _cancellers);
        if (Interlocked.CompareExchange(ref _completion, Orphaned, OrphanedAnswerKept) == OrphanedAnswerKept)
        {
            // Not before the decrement: an inline operation goes on here, and its end frees the slot.
            AnswerUnlessHeld(TeeReturnCode.Communication, Orphaned, OrphanedAnswerKept);
        }
    }

    /// <summary>Tells the backend the guest's answer, or keeps it while the VM is paused. A blocked worker is
    /// told, and held itself.</summary>
    /// <param name="answer">The answer.</param>
    /// <param name="working">What <see cref="_completion"/> says, with a full fence after it, while
    /// the backend may go on.</param>
    /// <param name="kept">What it says while it may not.</param>
    private void AnswerUnlessHeld(TeeReturnCode answer, int working, int kept)
    {
        while (!Rpc.IsBlocking && IsToHold)
        {
            _keptAnswer = answer;
            if (Interlocked.CompareExchange(ref _completion, kept, working) != working)
            {
                // The operation has ended without waiting for the answer.
                return;
            }

            // Who ends the pause looks for kept answers afterwards. Of the two one succeeds in taking it.
            if (IsToHold || Interlocked.CompareExchange(ref _completion, working, kept) != kept)
            {
                return;
            }
        }

        Rpc.Answer(answer);
    }

    private bool IsToHold => DriverInstance is { } driverInstance && _pause.Holds(driverInstance);

    /// <summary>The operation begins to wait for something outside of it; see
    /// <see cref="GuestServices.BeginWait"/>.</summary>
    public void BeginWait() => _waitsOutside = true;

    /// <summary>The operation goes on, after a pause.</summary>
    public void EndWait()
    {
        DriverInstance driverInstance = DriverInstance!;
        while (true)
        {
            _waitsOutside = false;
            Interlocked.MemoryBarrier();
            if (!_pause.Holds(driverInstance))
            {
                return;
            }

            _waitsOutside = true;
            _pause.WaitUntilReleased(driverInstance);
        }
    }

    /// <summary>Whether the backend is neither at work nor about to be, unless it finds the VM not paused.</summary>
    /// <remarks>
    /// What ends each of these is followed by a full fence and a look at <see cref="PauseControl"/>. A slot whose call
    /// is being prepared is not quiet until the call is held or has ended.
    /// </remarks>
    public bool IsQuiet =>
        State == CallState.Free
        || IsDraining
        || IsHeld
        || _waitsOutside
        || Volatile.Read(
            ref _completion) is (Finished or RpcRequested or RpcOutstanding or AnswerKept or OrphanedAnswerKept);

    public bool HasFinished => Volatile.Read(ref _completion) == Finished;

    public bool HasRequestedRpc => Volatile.Read(ref _completion) == RpcRequested;

    /// <summary>Whether the guest's thread sleeps, or is about to: from <see cref="TryBeginSleep"/> to
    /// <see cref="EndSleep"/>.</summary>
    public bool IsAsleep => _isAsleep;

    /// <summary>Lets the end of the operation, or a call of the backend, send a notification.</summary>
    /// <returns><see langword="false"/> if that has happened already, and no notification was sent.</returns>
    public bool TryBeginSleep(TimeSpan atMost)
    {
        _isAsleep = true;
        _ = Interlocked.Exchange(ref _canBeWoken, 1);
        if (Volatile.Read(ref _completion) != Pending && Interlocked.CompareExchange(ref _canBeWoken, 0, 1) == 1)
        {
            _isAsleep = false;
            return false;
        }

        _wakeTimer ??= new Timer(static slot => ((CallSlot)slot!).WakeGuest(), this, Timeout.InfiniteTimeSpan,
            Timeout.InfiniteTimeSpan);
        _ = _wakeTimer.Change(atMost, Timeout.InfiniteTimeSpan);
        return true;
    }

    /// <summary>The guest's thread is back, or gone.</summary>
    public void EndSleep()
    {
        _isAsleep = false;
        _ = Interlocked.Exchange(ref _canBeWoken, 0);
        _ = _wakeTimer?.Change(Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>Wakes the guest's thread, if it sleeps and was not woken yet.</summary>
    public void WakeGuest()
    {
        if (Volatile.Read(ref _canBeWoken) != 0 && Interlocked.Exchange(ref _canBeWoken, 0) != 0)
        {
            _owner.Notifications.Post(NotificationQueue.ValueOf(Index));
        }
    }

    /// <summary>Gives back a buffer of the guest's that the call had.</summary>
    public void ReturnBuffer(SharedBuffer buffer) => _owner.ReturnBuffer(buffer);

    /// <summary>Waits until the operation ends or wants to call the guest.</summary>
    /// <param name="quantum">How long at the most, and up to a millisecond more: .NET's waits are whole ones.</param>
    /// <returns>Whether one of the two has happened.</returns>
    public bool WaitForBackend(TimeSpan quantum)
    {
        if (Volatile.Read(ref _completion) != Pending)
        {
            return true;
        }

        // Only here is the clock read: it costs as much as the half of a call to the guest that is answered at once.
        long start = Stopwatch.GetTimestamp();
        WaitsSince = WaitsSince == 0 ? start : WaitsSince;
        TimeSpan left = quantum;

        // A full fence, as there is one after each change of the completion: either the backend sees that it is waited
        // for, or it is seen to be done.
        _ = Interlocked.Exchange(ref _isWaitedFor, 1);
        while (left > TimeSpan.Zero && Volatile.Read(ref _completion) == Pending)
        {
            InterleavingPoint.Reach("CallSlot.WaitForBackend: about to wait");

            // The event may still be set for something earlier, such as the slot's previous call,
            // whose worker sets it last of all.
            if (_event.Wait(WholeMilliseconds.AtLeast(left)) && Volatile.Read(ref _completion) == Pending)
            {
                _event.Reset();
            }

            left = quantum - Stopwatch.GetElapsedTime(start);
        }

        Volatile.Write(ref _isWaitedFor, 0);
        return Volatile.Read(ref _completion) != Pending;
    }

    /// <summary>Has an invocation in this session with this id end early.</summary>
    public void TryCancel(Session session, uint cancelId)
    {
        // From here on the slot is not freed, so that the request stays the same one.
        _ = Interlocked.Increment(ref _cancellers);
        if (Session == session && _message.Header.CancelId == cancelId && DriverInstance is { } driverInstance)
        {
            RequestCancellation(driverInstance);
        }

        _ = Interlocked.Decrement(ref _cancellers);
    }

    /// <summary>Has the call end early, whatever it is, if it belongs to a driver instance.</summary>
    public void TryCancel(DriverInstance driverInstance)
    {
        _ = Interlocked.Increment(ref _cancellers);
        if (DriverInstance == driverInstance)
        {
            EndOperation(driverInstance);
        }

        _ = Interlocked.Decrement(ref _cancellers);
    }

    /// <summary>
    /// Tells the backend of a cancellation, or of the VM's end, that came while it began an operation on a vCPU's
    /// thread, which goes on elsewhere.
    /// </summary>
    /// <remarks>
    /// The parameters say what the operation was told as it began. A worker's operation needs no such look: between
    /// <see cref="ExpectBackend"/> and its first instruction is a full fence (<see cref="CallWorker.Post()"/>), so that
    /// the operation sees the request or the canceller sees the operation.
    /// </remarks>
    public void DeliverCancellation(bool wasCancelled, bool wasTerminated)
    {
        Interlocked.MemoryBarrier();
        if (!wasCancelled && Request.IsCancellationRequested)
        {
            CancelOperation(DriverInstance!);
        }

        if (!wasTerminated && Request.IsTerminationRequested)
        {
            TerminateOperation();
        }
    }

    /// <summary>Whether the call uses a buffer.</summary>
    public bool Uses(SharedBuffer buffer)
    {
        for (int parameter = 0; parameter < TeeRequest.ParameterCount; parameter++)
        {
            if (Volatile.Read(ref _buffers[parameter]) == buffer.Id)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Ends the call and frees the slot.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Release()
    {
        // First nobody finds the call any more, then a fence, then those are waited for who found it before. What the
        // call has done comes before all of it, as each is cleared with release: who sees it cleared (acquire) may
        // take away what the call used.
        Session = null;
        if (_hasBuffers)
        {
            ClearBuffers();
        }

        DriverInstance = null;
        int generation = (_state & ~StateMask) + (1 << StateBits);
        _ = Interlocked.Exchange(ref _state, generation | (int)CallState.Running);
        if (Volatile.Read(ref _cancellers) != 0 || _waiters.Any)
        {
            AttendToOthers();
        }

        Volatile.Write(ref _state, generation | (int)CallState.Free);
    }

    private void Wake()
    {
        if (Volatile.Read(ref _isWaitedFor) != 0)
        {
            _event.Set();
        }

        WakeGuest();
    }

    private void ClearBuffers()
    {
        Span<TeeParameter> parameters = Request.WritableParameters;
        for (int parameter = 0; parameter < TeeRequest.ParameterCount; parameter++)
        {
            Volatile.Write(ref _buffers[parameter], 0);
            parameters[parameter].SetNone();
        }

        if (_temporaryBuffers != 0)
        {
            _temporary = default;
            _temporaryBuffers = 0;
        }

        _hasBuffers = false;
    }

    private void AttendToOthers()
    {
        _waiters.Wake();
        SpinWait spin = default;
        while (Volatile.Read(ref _cancellers) != 0)
        {
            spin.SpinOnce();
        }
    }

    private bool IsRunning => Volatile.Read(ref _completion) is not (Finished or Preparing);

    // An operation that has not begun sees the request when it begins; one that has ended is left
    // alone; only one that runs is told.
    private void RequestCancellation(DriverInstance driverInstance)
    {
        if (Request.RequestCancellation() && IsRunning)
        {
            CancelOperation(driverInstance);
        }
    }

    // While the VM is paused, the backend is told afterwards.
    private void CancelOperation(DriverInstance driverInstance)
    {
        if (!_pause.TryEnter(driverInstance))
        {
            return;
        }

        if (Operation is (TeeOperation.InvokeCommand or TeeOperation.OpenSession)
            && Interlocked.Exchange(ref _isCancelDelivered, 1) == 0)
        {
            _owner.Cancel(Request, Operation);
        }

        _pause.Exit();
    }

    /// <summary>Has the operation of a retired driver end, unless the VM is paused: then it is
    /// asked to afterwards.</summary>
    private void EndOperation(DriverInstance driverInstance)
    {
        if (!_pause.TryEnter(driverInstance))
        {
            return;
        }

        if (!_pause.IsEnding)
        {
            RequestCancellation(driverInstance);
        }
        else if (Request.RequestTermination() && IsRunning)
        {
            TerminateOperation();
        }

        _pause.Exit();
    }

    private void TerminateOperation()
    {
        if (Operation is (TeeOperation.InvokeCommand or TeeOperation.OpenSession or TeeOperation.CloseSession)
            && Interlocked.Exchange(ref _isTerminationDelivered, 1) == 0)
        {
            _owner.Cancel(Request, Operation);
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
            result = _owner.BackendFailed(Operation, exception);
        }

        Complete(result);
    }

    // The buffers' ids rather than references: a reference stored in an old object costs a call into the
    // garbage collector's barrier.
    [InlineArray(TeeRequest.ParameterCount)]
    private struct BufferIds
    {
        private int _element0;
    }

    [InlineArray(TeeRequest.ParameterCount)]
    private struct TemporaryBuffers
    {
        private SharedBuffer? _element0;
    }
}
