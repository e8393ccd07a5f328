using System.Runtime.CompilerServices;
using OpTeeMediator.Backends;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.SharedMemory;

namespace OpTeeMediator.Calls;

/// <summary>Everything one yielding call needs, prepared in advance: its state, its decoded request, its wait for the backend.</summary>
/// <remarks>
/// <para>The state word is the generation (24 bits) and the <see cref="CallState"/>; a change of state is one compare-and-swap, so that a
/// forged, stale or doubled resume fails there. Only who has moved the slot to <see cref="CallState.Running"/> or <see cref="CallState.Abandoned"/> touches the rest,
/// except for what is marked as published.</para>
/// </remarks>
internal sealed class CallSlot
{
    private const int StateBits = 8;
    private const int StateMask = (1 << StateBits) - 1;

    // What _completion says.
    private const int Pending = 0;
    private const int Finished = 1;
    private const int Orphaned = 2;

    private readonly YieldingCalls _calls;
    private readonly CallSlots _slots;
    private readonly ManualResetEventSlim _finished = new(false);
    private readonly Action _onCompleted;
    private ValueTaskAwaiter<TeeResult> _awaiter;
    private Message _message;
    private int _state;
    private int _completion;
    private int _cancellers;

    public CallSlot(YieldingCalls calls, CallSlots slots, int index)
    {
        _calls = calls;
        _slots = slots;
        Index = index;
        _onCompleted = CompleteFromAwaiter;
    }

    public int Index { get; }

    /// <summary>The private copy of the message.</summary>
    public ref Message Message => ref _message;

    /// <summary>The decoded operation. Published: its parameters' buffers, for those who take buffers away.</summary>
    public TeeRequest Request { get; } = new();

    /// <summary>Published: the session that the call uses.</summary>
    public Session? Session { get; set; }

    /// <summary>Published: the life of the guest's driver that the call belongs to.</summary>
    public Incarnation? Incarnation { get; set; }

    /// <summary>The session that the call opens or closes, or the buffer that it registers or unregisters.</summary>
    public Session? OwnSession { get; set; }

    /// <inheritdoc cref="OwnSession"/>
    public SharedBuffer? Buffer { get; set; }

    /// <summary>Where the guest finds the results.</summary>
    public GuestAddress MessageAddress { get; set; }

    /// <summary>How many parameters the message has before those of the request.</summary>
    public int FirstParameter { get; set; }

    /// <summary>Whether a parameter refers to a buffer.</summary>
    public bool HasBuffers { get; set; }

    /// <summary>Whether a parameter's buffer is for this call only.</summary>
    public bool HasTemporaryBuffers { get; set; }

    /// <summary>The thread that runs the call's operation where it may block.</summary>
    public CallWorker? Worker { get; set; }

    /// <summary>What the backend answered, once <see cref="WaitForBackend"/> says so.</summary>
    public TeeResult Result { get; private set; }

    /// <summary>Whether the call waits until nobody else uses what it takes away, before its operation begins.</summary>
    public bool IsDraining { get; set; }

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

    /// <summary>Gives the call to the guest, to be resumed.</summary>
    /// <returns>The resume information, by which alone the guest can go on: generation and index; never 0.</returns>
    public uint Suspend()
    {
        Incarnation incarnation = Incarnation!;
        uint generation = ((uint)_state & ~(uint)StateMask) + (1u << StateBits);
        uint resumeInformation = generation | (uint)(Index + 1);
        _ = Interlocked.Exchange(ref _state, (int)(generation | (uint)CallState.Suspended));
        if (incarnation.IsRetired)
        {
            // Whoever retired it has passed by already or will find the slot in the new state; only one of us succeeds.
            TryAbandon(incarnation);
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

    /// <summary>Ends a call that the guest holds and will not resume. It is freed when its backend has returned, at once if it has.</summary>
    public void TryAbandon(Incarnation incarnation)
    {
        // In this order: if the call ended meanwhile, its state has a new generation and the swap fails.
        int state = Volatile.Read(ref _state);
        int abandoned = (state & ~StateMask) | (int)CallState.Abandoned;
        if ((state & StateMask) == (int)CallState.Suspended
            && Incarnation == incarnation
            && Interlocked.CompareExchange(ref _state, abandoned, state) == state
            && (IsDraining || Interlocked.CompareExchange(ref _completion, Orphaned, Pending) == Finished))
        {
            _calls.ReleaseAbandoned(this);
        }
    }

    /// <summary>Begins the wait for a backend, before the operation is performed.</summary>
    public void ExpectBackend() => Volatile.Write(ref _completion, Pending);

    /// <summary>Has an operation that did not complete at once end with <see cref="Complete"/>.</summary>
    public void Await(ValueTask<TeeResult> operation)
    {
        _awaiter = operation.GetAwaiter();
        _awaiter.UnsafeOnCompleted(_onCompleted);
    }

    /// <summary>Ends the operation. Called once by whichever thread saw it end.</summary>
    public void Complete(TeeResult result)
    {
        Result = result;
        if (Interlocked.CompareExchange(ref _completion, Finished, Pending) == Orphaned)
        {
            _calls.ReleaseAbandoned(this);
        }
        else
        {
            _finished.Set();
        }
    }

    /// <summary>Waits for the operation.</summary>
    /// <param name="quantum">How long at the most.</param>
    /// <returns>Whether it has ended.</returns>
    public bool WaitForBackend(TimeSpan quantum)
    {
        if (Volatile.Read(ref _completion) == Finished)
        {
            return true;
        }

        long start = System.Diagnostics.Stopwatch.GetTimestamp();
        TimeSpan left = quantum;
        while (left > TimeSpan.Zero && Volatile.Read(ref _completion) != Finished)
        {
            // The event may still be set for the slot's previous call, whose worker sets it last of all.
            if (_finished.Wait(left) && Volatile.Read(ref _completion) != Finished)
            {
                _finished.Reset();
            }

            left = quantum - System.Diagnostics.Stopwatch.GetElapsedTime(start);
        }

        return Volatile.Read(ref _completion) == Finished;
    }

    /// <summary>Asks the backend to end the call early, if it is an invocation in this session with this id.</summary>
    public void TryCancel(Session session, uint cancelId)
    {
        // From here on the slot is not freed, so that the request stays the same one.
        _ = Interlocked.Increment(ref _cancellers);
        if (Session == session && _message.Header.CancelId == cancelId && Request.Operation == TeeOperation.InvokeCommand)
        {
            RequestCancellation();
        }

        _ = Interlocked.Decrement(ref _cancellers);
    }

    /// <summary>Asks the backend to end the call early, whatever it is, if it belongs to an incarnation.</summary>
    public void TryCancel(Incarnation incarnation)
    {
        _ = Interlocked.Increment(ref _cancellers);
        if (Incarnation == incarnation && Request.Operation is (TeeOperation.InvokeCommand or TeeOperation.OpenSession))
        {
            RequestCancellation();
        }

        _ = Interlocked.Decrement(ref _cancellers);
    }

    /// <summary>Whether the call uses a buffer.</summary>
    public bool Uses(SharedBuffer buffer)
    {
        foreach (ref readonly TeeParameter parameter in Request.Parameters)
        {
            if (parameter.Memory == buffer)
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
        // First nobody finds the call any more, then a fence, then those are waited for who found it before.
        Session = null;
        Incarnation = null;
        if (HasBuffers)
        {
            ForgetBuffers();
        }

        int generation = (_state & ~StateMask) + (1 << StateBits);
        _ = Interlocked.Exchange(ref _state, generation | (int)CallState.Running);
        if (Volatile.Read(ref _cancellers) != 0 || _slots.HasWaiters)
        {
            AttendToOthers();
        }

        Volatile.Write(ref _state, generation | (int)CallState.Free);
    }

    private void ForgetBuffers()
    {
        foreach (ref TeeParameter parameter in Request.Parameters)
        {
            parameter.SetNone();
        }

        HasBuffers = false;
    }

    private void AttendToOthers()
    {
        _slots.WakeWaiters();
        SpinWait spin = default;
        while (Volatile.Read(ref _cancellers) != 0)
        {
            spin.SpinOnce();
        }
    }

    private void RequestCancellation()
    {
        if (!Request.IsCancellationRequested)
        {
            Request.RequestCancellation();
            _calls.Cancel(Request);
        }
    }

    private void CompleteFromAwaiter()
    {
        TeeResult result;
        try
        {
            result = _awaiter.GetResult();
        }
        catch (Exception exception)
        {
            result = _calls.BackendFailed(Request.Operation, exception);
        }

        Complete(result);
    }
}
