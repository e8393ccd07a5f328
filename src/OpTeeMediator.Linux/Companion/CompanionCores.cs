using System.Collections.Immutable;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Linux.Companion;

/// <summary>The cores of an OP-TEE, and which of them a call gets. Thread-safe.</summary>
/// <remarks>A call waits for a core for a quantum at most; then the guest makes it again.</remarks>
internal sealed class CompanionCores
{
    private const int NoThread = 0;

    private readonly object _waiting = new();
    private readonly int _patience;
    private int _waiters;
    private bool _hasEnded;

    internal CompanionCores(ImmutableArray<CompanionCore> cores, TimeSpan quantum)
    {
        All = cores;
        _patience = WholeMilliseconds.AtLeast(quantum);
    }

    internal ImmutableArray<CompanionCore> All { get; }

    /// <summary>Takes the core on which OP-TEE begins, before any call.</summary>
    internal CompanionCore TakeFirst() => All[0].TryTake(NoThread)
        ? All[0]
        : throw new InvalidOperationException("An OP-TEE starts once.");

    /// <summary>Takes a core, waiting for a quantum at most; none if OP-TEE has ended, or none was free.</summary>
    internal CompanionCore? Take()
    {
        int thread = ThreadId.Current;
        return TryTake(thread) ?? WaitForOne(thread);
    }

    internal void Release(CompanionCore core)
    {
        core.Release();

        // The release is a full fence: either a waiter sees the core free, or it is seen here.
        if (Volatile.Read(ref _waiters) != 0)
        {
            lock (_waiting)
            {
                Monitor.Pulse(_waiting);
            }
        }
    }

    /// <summary>Does something while no core runs.</summary>
    /// <exception cref="InvalidOperationException">A core is in use: the VM is not paused.</exception>
    internal void WhileNoneRuns(Action work)
    {
        int taken = 0;
        try
        {
            // Should the VM be resumed meanwhile, calls find no core, and are made again.
            for (; taken < All.Length; taken++)
            {
                if (!All[taken].TryTake(All[taken].Thread))
                {
                    throw new InvalidOperationException("A core of OP-TEE is in use, though its VM is to be saved.");
                }
            }

            work();
        }
        finally
        {
            while (--taken >= 0)
            {
                Release(All[taken]);
            }
        }
    }

    /// <summary>OP-TEE has ended: those who wait for a core get none.</summary>
    internal void EndWaits()
    {
        lock (_waiting)
        {
            _hasEnded = true;
            Monitor.PulseAll(_waiting);
        }
    }

    /// <summary>Takes all cores for good, when the threads that are in them have come back.</summary>
    internal void TakeAllForGood()
    {
        foreach (CompanionCore core in All)
        {
            SpinWait wait = default;
            while (!core.TryTake(ThreadId.Current))
            {
                wait.SpinOnce();
            }
        }
    }

    private CompanionCore? WaitForOne(int thread)
    {
        _ = Interlocked.Increment(ref _waiters);
        lock (_waiting)
        {
            CompanionCore? core = null;
            long deadline = Environment.TickCount64 + _patience;
            while (!_hasEnded && (core = TryTake(thread)) is null)
            {
                long left = deadline - Environment.TickCount64;
                if (left <= 0)
                {
                    break;
                }

                _ = Monitor.Wait(_waiting, (int)left);
            }

            _ = Interlocked.Decrement(ref _waiters);
            return core;
        }
    }

    /// <summary>Takes the core that this thread had last, or else one that no thread has had, or else any.</summary>
    private CompanionCore? TryTake(int thread) =>
        TryTake(thread, lastOf: thread) ?? TryTake(thread, lastOf: NoThread) ?? TryTake(thread, lastOf: null);

    private CompanionCore? TryTake(int thread, int? lastOf)
    {
        foreach (CompanionCore core in All)
        {
            if ((lastOf is null || core.Thread == lastOf) && core.TryTake(thread))
            {
                return core;
            }
        }

        return null;
    }
}
