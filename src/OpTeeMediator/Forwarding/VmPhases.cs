using System.Diagnostics;

namespace OpTeeMediator.Forwarding;

/// <summary>The present phase of a forwarded VM, and how many threads handle calls of it.</summary>
/// <remarks>
/// <code>
///              ResetAsync, EXCHANGE_CAPABILITIES                   DisposeAsync
///  Serving, NotCreated, CleanupPending, CleanupBlocked ──┬──► Restarting
///     ▲                      │  a yielding call          └──► Disposed
///     │                      ▼
///     │   CleanupPending, CleanupBlocked ──► CleanupRunning
///     │
///     └── Restarting and CleanupRunning end in
///           Serving          nothing of an earlier driver is left, or OP-TEE has created the VM again
///           NotCreated       OP-TEE has destroyed the VM and not created it again
///           CleanupPending   an interrupt, or the time for one piece, ended the piece
///           CleanupBlocked   OP-TEE does not release what is left
/// </code>
/// <para>A thread that begins a phase waits afterwards for those that handle calls: a call either finds the new phase
/// or is counted. Thread-safe.</para>
/// </remarks>
internal sealed class VmPhases
{
    private int _phase;
    private int _inside;

    public VmPhase Current => (VmPhase)Volatile.Read(ref _phase);

    /// <summary>A thread begins to handle a call.</summary>
    public void Enter() => _ = Interlocked.Increment(ref _inside);

    /// <summary>A thread has handled a call.</summary>
    public void Leave() => _ = Interlocked.Decrement(ref _inside);

    /// <summary>Begins <see cref="VmPhase.Restarting"/> or <see cref="VmPhase.Disposed"/>.</summary>
    /// <returns>The phase before. If it is one that must end first, or <see cref="VmPhase.Disposed"/>, nothing
    /// began.</returns>
    public VmPhase TryBegin(VmPhase phase)
    {
        while (true)
        {
            VmPhase present = Current;
            if (!MayEnd(present) || TryChange(present, phase) == present)
            {
                return present;
            }
        }
    }

    /// <summary>Whether another thread may end this phase.</summary>
    public static bool MayEnd(VmPhase phase) =>
        phase is not (VmPhase.Restarting or VmPhase.CleanupRunning or VmPhase.Disposed);

    /// <summary>Begins <see cref="VmPhase.CleanupRunning"/>.</summary>
    /// <returns>The phase before. If it is neither pending nor blocked, nothing began.</returns>
    public VmPhase TryBeginCleanup()
    {
        VmPhase present = TryChange(VmPhase.CleanupPending, VmPhase.CleanupRunning);
        return present == VmPhase.CleanupBlocked
            ? TryChange(VmPhase.CleanupBlocked, VmPhase.CleanupRunning)
            : present;
    }

    /// <summary>Ends the phase that this thread has begun.</summary>
    public void End(VmPhase next) => _ = Interlocked.Exchange(ref _phase, (int)next);

    /// <summary>Waits until no thread handles a call.</summary>
    /// <returns><see langword="false"/> if the time was over before.</returns>
    public async Task<bool> WaitUntilNoneInsideAsync(TimeSpan atMost)
    {
        long start = Stopwatch.GetTimestamp();
        while (Volatile.Read(ref _inside) != 0)
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
    /// <inheritdoc cref="WaitUntilNoneInsideAsync" path="/returns"/>
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

    private VmPhase TryChange(VmPhase present, VmPhase next) =>
        (VmPhase)Interlocked.CompareExchange(ref _phase, (int)next, (int)present);
}
