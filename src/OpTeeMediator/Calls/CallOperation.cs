using System.Diagnostics;
using System.Runtime.CompilerServices;
using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Calls;

/// <summary>A call's operation at the backend: its phase, its result, and the vCPU's wait for it.</summary>
/// <remarks>
/// <code>
///  None ── Prepare ──► Preparing ◄── ContinuePreparation ── Draining, Held
///                      │      └───── Drain, Hold ─────────────▲
///                      └── Begin ──► Working
///
///  Working ── TryRequestRpc ──► CallingGuest ── TryEndRpc ──► Working
///  Working ◄── TryGoOn, TryKeepAnswer ──► AnswerKept
///  Working, CallingGuest, AnswerKept ── TryOrphan, the guest is gone ──► Orphaned
///  Orphaned ◄── TryGoOn, TryKeepAnswer ──► OrphanedAnswerKept
///  Working, …, OrphanedAnswerKept ── Complete ──► Ended
///  all ── Clear ──► None
/// </code>
/// <para>The vCPU that has the call moves it up to Working, by plain writes. From there on the backend's thread and the
/// vCPU's meet in the word, and each transition is one interlocked operation.</para>
/// </remarks>
internal sealed class CallOperation
{
    private readonly ManualResetEventSlim _changed = new(false);
    private volatile OperationPhase _phase;
    private volatile bool _waitsOutside;
    private int _isWaitedFor;

    /// <summary>Which operation it is, whatever the backend makes of the request's.</summary>
    public TeeOperation Kind { get; set; }

    /// <summary>Whether it was given to the slot's worker.</summary>
    public bool IsOnWorker { get; private set; }

    public OperationPhase Phase => _phase;

    /// <summary>What the backend answered, in <see cref="OperationPhase.Ended"/>.</summary>
    public TeeResult Result { get; private set; }

    /// <summary>What the guest answered, while the answer is kept.</summary>
    public TeeReturnCode KeptAnswer { get; private set; }

    /// <summary>When the guest's thread began to wait for the operation, by <see cref="Stopwatch"/>; 0 if it has not
    /// since the guest was last asked.</summary>
    public long WaitsSince { get; set; }

    /// <summary>Whether the backend has the operation, and may be asked to end it.</summary>
    public bool IsAtBackend => _phase is >= OperationPhase.Working and <= OperationPhase.OrphanedAnswerKept;

    /// <summary>Whether a call of the backend to the guest would be accepted, if only to say that it is gone.</summary>
    public bool MayRequestRpc =>
        _phase is OperationPhase.Working or OperationPhase.Orphaned or OperationPhase.OrphanedAnswerKept;

    /// <summary>Whether the backend is neither at work nor about to be, unless it finds the VM not paused.</summary>
    /// <remarks>What ends each of these is followed by a full fence and a look at <see cref="PauseControl"/>. A call
    /// that is being prepared is not quiet until it is held or has ended.</remarks>
    public bool IsQuiet =>
        _waitsOutside || _phase is not (OperationPhase.Preparing or OperationPhase.Working or OperationPhase.Orphaned);

    /// <summary>Whether the backend has it neither, nor is about to, unless it finds that operations may begin; as
    /// <see cref="IsQuiet"/>.</summary>
    /// <remarks>The phase is read once: between two looks an operation that was being prepared may begin.</remarks>
    public bool IsDrained => _phase is not (>= OperationPhase.Working and <= OperationPhase.OrphanedAnswerKept
        or OperationPhase.Preparing);

    /// <summary>A vCPU has the call. A full fence must follow, then, before <see cref="Begin"/>, a look at
    /// <see cref="VmPause.IsPaused"/>: the thread that pauses the VM either is seen there, or sees that an
    /// operation may begin (<see cref="IsQuiet"/>).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Prepare()
    {
        IsOnWorker = false;
        _waitsOutside = false;
        _phase = OperationPhase.Preparing;
    }

    public void Drain() => _phase = OperationPhase.Draining;

    public void Hold() => _phase = OperationPhase.Held;

    /// <summary>What the operation waited for before its begin is there. A full fence.</summary>
    public void ContinuePreparation() => _ = Interlocked.Exchange(ref _phase, OperationPhase.Preparing);

    /// <summary>The operation is with the backend from now on: it can be cancelled, and is waited for.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Begin(bool isOnWorker)
    {
        IsOnWorker = isOnWorker;
        WaitsSince = 0;
        _phase = OperationPhase.Working;
    }

    /// <summary>Ends the operation; called once. Returns whether the guest is gone: then release it.</summary>
    public bool Complete(TeeResult result)
    {
        Result = result;
        return Interlocked.Exchange(ref _phase, OperationPhase.Ended)
            is OperationPhase.Orphaned or OperationPhase.OrphanedAnswerKept;
    }

    /// <summary>The operation has ended on the vCPU's thread, or is being entered into the tables.</summary>
    public void Clear() => _phase = OperationPhase.None;

    /// <summary>Takes over an operation of an earlier process: one that has not begun, or has ended.</summary>
    public void Restore(TeeOperation kind, OperationPhase phase, TeeResult result)
    {
        Kind = kind;
        Result = result;
        _phase = phase;
    }

    /// <summary>The guest is gone; fails if the operation has not begun or has ended. If the backend waits for an
    /// answer of the guest, it is to be told.</summary>
    public bool TryOrphan(out bool wasCalling)
    {
        OperationPhase phase = _phase;
        while (phase is >= OperationPhase.Working and < OperationPhase.Ended)
        {
            OperationPhase seen = Interlocked.CompareExchange(ref _phase, OperationPhase.Orphaned, phase);
            if (seen == phase)
            {
                wasCalling = phase is OperationPhase.CallingGuest or OperationPhase.AnswerKept;
                return true;
            }

            phase = seen;
        }

        wasCalling = false;
        return false;
    }

    /// <summary>The backend calls the guest. Fails if the guest is gone; throws during another call.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryRequestRpc() =>
        Interlocked.CompareExchange(ref _phase, OperationPhase.CallingGuest, OperationPhase.Working) switch
        {
            OperationPhase.Working => true,
            OperationPhase.Orphaned or OperationPhase.OrphanedAnswerKept => false,
            _ => throw CannotRequestRpc(),
        };

    public static InvalidOperationException CannotRequestRpc() =>
        new("A backend can make one call to the guest at a time, and only while its operation runs.");

    /// <summary>The guest has answered; fails if the backend does not wait for it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryEndRpc() =>
        Interlocked.CompareExchange(ref _phase, OperationPhase.Working, OperationPhase.CallingGuest)
            == OperationPhase.CallingGuest;

    /// <summary>Keeps an answer of which the backend has not been told, for <see cref="TryGoOn"/>; fails if the
    /// operation has ended without waiting for it. A full fence.</summary>
    public bool TryKeepAnswer(TeeReturnCode answer, out OperationPhase kept)
    {
        KeptAnswer = answer;
        OperationPhase working = _phase;
        kept = working == OperationPhase.Orphaned ? OperationPhase.OrphanedAnswerKept : OperationPhase.AnswerKept;
        return working is OperationPhase.Working or OperationPhase.Orphaned
            && Interlocked.CompareExchange(ref _phase, kept, working) == working;
    }

    /// <summary>The backend goes on with a kept answer that the caller delivers, unless another does.</summary>
    public bool TryGoOn(OperationPhase kept)
    {
        OperationPhase working =
            kept == OperationPhase.OrphanedAnswerKept ? OperationPhase.Orphaned : OperationPhase.Working;
        return Interlocked.CompareExchange(ref _phase, working, kept) == kept;
    }

    /// <summary>The operation begins to wait outside of it; see <see cref="GuestServices.BeginWait"/>.</summary>
    public void BeginWaitOutside() => _waitsOutside = true;

    /// <summary>The operation goes on. A full fence.</summary>
    public void EndWaitOutside()
    {
        _waitsOutside = false;
        Interlocked.MemoryBarrier();
    }

    /// <summary>Waits until the operation ends or wants to call the guest; up to a millisecond longer than the quantum,
    /// as .NET's waits are whole ones.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool WaitWhileWorking(TimeSpan quantum) => _phase != OperationPhase.Working || Wait(quantum);

    /// <summary>The phase has changed: wakes the vCPU that waits for it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Wake()
    {
        if (Volatile.Read(ref _isWaitedFor) != 0)
        {
            _changed.Set();
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private bool Wait(TimeSpan quantum)
    {
        // Only here is the clock read: it costs as much as the half of a call to the guest that is answered at once.
        long start = Stopwatch.GetTimestamp();
        WaitsSince = WaitsSince == 0 ? start : WaitsSince;
        TimeSpan left = quantum;

        // A full fence, as after each change of the phase: either the wait is seen, or the operation's end.
        _ = Interlocked.Exchange(ref _isWaitedFor, 1);
        while (left > TimeSpan.Zero && _phase == OperationPhase.Working)
        {
            InterleavingPoint.Reach("CallOperation.WaitWhileWorking: about to wait");

            // The event may still be set for something earlier: a worker sets it last of all.
            if (_changed.Wait(WholeMilliseconds.AtLeast(left)) && _phase == OperationPhase.Working)
            {
                _changed.Reset();
            }

            left = quantum - Stopwatch.GetElapsedTime(start);
        }

        Volatile.Write(ref _isWaitedFor, 0);
        return _phase != OperationPhase.Working;
    }
}
