using System.Diagnostics;

namespace OpTeeMediator.Forwarding;

/// <summary>The present phase of a forwarded VM, and how many threads handle calls of it.</summary>
/// <remarks>
/// <code>
///  Serving, NotCreated, CleanupPending, CleanupBlocked
///                   ── ResetAsync, EXCHANGE_CAPABILITIES ──► Restarting
///                   ── DisposeAsync ──► Disposed
///  CleanupPending, CleanupBlocked
///                   ── a yielding call ──► CleanupRunning
///  Restarting, CleanupRunning
///                   ── nothing of an earlier driver is left, or the VM was created again ──► Serving
///                   ── OP-TEE has destroyed the VM and not created it again ──► NotCreated
///                   ── an interrupt, or the time for one piece, ended the piece ──► CleanupPending
///                   ── OP-TEE does not release what is left ──► CleanupBlocked
/// </code>
/// <para>A thread that begins a phase waits afterwards for those that handle calls: a call either finds the new phase
/// or is counted. Thread-safe.</para>
/// </remarks>
internal sealed class VmPhases
{
    private int _phase;
    private int _inside;

    public VmPhase Current => (VmPhase)Volatile.Read(ref _phase);

    public bool IsNoneInside => Volatile.Read(ref _inside) == 0;

    /// <summary>A thread begins to handle a call: a full fence.</summary>
    public void Enter() => _ = Interlocked.Increment(ref _inside);

    public void Leave() => _ = Interlocked.Decrement(ref _inside);

    /// <summary>Begins a phase. Returns the one before; nothing began if there is no such transition.</summary>
    public VmPhase TryBegin(VmPhase phase)
    {
        while (true)
        {
            VmPhase present = Current;
            bool mayBegin = phase == VmPhase.CleanupRunning ? MayCleanUp(present) : MayEnd(present);
            if (!mayBegin || Interlocked.CompareExchange(ref _phase, (int)phase, (int)present) == (int)present)
            {
                return present;
            }
        }
    }

    /// <summary>Whether <see cref="VmPhase.Restarting"/> and <see cref="VmPhase.Disposed"/> may follow.</summary>
    public static bool MayEnd(VmPhase phase) =>
        phase is not (VmPhase.Restarting or VmPhase.CleanupRunning or VmPhase.Disposed);

    /// <summary>Whether <see cref="VmPhase.CleanupRunning"/> may follow.</summary>
    public static bool MayCleanUp(VmPhase phase) => phase is VmPhase.CleanupPending or VmPhase.CleanupBlocked;

    /// <summary>Ends the phase that this thread has begun.</summary>
    public void End(VmPhase next) => _ = Interlocked.Exchange(ref _phase, (int)next);

    /// <summary>Waits until no thread handles a call; fails if the time is over before.</summary>
    public async Task<bool> WaitUntilNoneInsideAsync(TimeSpan atMost)
    {
        long start = Stopwatch.GetTimestamp();
        while (!IsNoneInside)
        {
            if (Stopwatch.GetElapsedTime(start) > atMost)
            {
                return false;
            }

            await Task.Delay(1);
        }

        return true;
    }

    /// <summary>Waits, within a call, until no other thread handles a call.</summary>
    public bool WaitUntilAlone(long start, TimeSpan atMost)
    {
        while (Volatile.Read(ref _inside) != 1)
        {
            if (Stopwatch.GetElapsedTime(start) > atMost)
            {
                return false;
            }

            Thread.Yield();
        }

        return true;
    }
}
