using System.Diagnostics;
using OpTeeMediator.Backends;

namespace OpTeeMediator.SoftwareTee.Operations;

/// <summary>Where a partition's operations wait: for a <see cref="EntryLock"/>, or for time.</summary>
/// <remarks>
/// One for all entry locks, so that a cancellation need not know where its operation waits. There are never more
/// waiters than the guest has call slots, so waking them all is cheap. Thread-safe.
/// </remarks>
internal sealed class EntryLockQueue
{
    private readonly object _monitor = new();
    private readonly Dictionary<TeeRequest, EntryLock> _waiting = [];
    private int _count;

    /// <summary>Blocks the thread until it is inside a lock.</summary>
    /// <param name="entryLock">The lock.</param>
    /// <param name="request">Its cancellation ends the waiting; <see langword="null"/> if nothing does.</param>
    /// <param name="root">The guest's operation that waits.</param>
    /// <param name="guest">Is told of the wait, so that the VM can be paused; or <see langword="null"/>.</param>
    /// <returns>Success; TEE_ERROR_CANCEL; TEE_ERROR_BUSY if it would wait for itself.</returns>
    public TeeReturnCode Wait(EntryLock entryLock, TeeRequest? request, TeeRequest root, GuestServices? guest)
    {
        guest?.BeginWait();
        TeeReturnCode code = Wait(entryLock, request, root);
        guest?.EndWait();
        return code;
    }

    /// <summary>Blocks the thread for a time.</summary>
    /// <param name="time">How long; <see cref="Timeout.InfiniteTimeSpan"/> without end.</param>
    /// <param name="cancellation">The operation, whose cancellation ends the waiting unless it is masked.</param>
    /// <param name="guest">Is told of the wait, so that the VM can be paused; or <see langword="null"/>.</param>
    /// <param name="cancellationToken">Ends the waiting, too; the caller wakes the queue when it is cancelled.</param>
    public bool Sleep(
        TimeSpan time, OperationCancellation cancellation, GuestServices? guest, CancellationToken cancellationToken)
    {
        guest?.BeginWait();
        bool isOver = Sleep(time, cancellation, cancellationToken);
        guest?.EndWait();
        return isOver;
    }

    /// <summary>Lets all waiters look again, if there are any. The caller has made its change interlocked.</summary>
    public void WakeIfAny()
    {
        if (Volatile.Read(ref _count) > 0)
        {
            Wake();
        }
    }

    /// <summary>Lets everyone who waits look again.</summary>
    public void Wake()
    {
        lock (_monitor)
        {
            Monitor.PulseAll(_monitor);
        }
    }

    private TeeReturnCode Wait(EntryLock entryLock, TeeRequest? request, TeeRequest root)
    {
        lock (_monitor)
        {
            // An operation takes locks before it waits for one: the last of a circle sees all others.
            if (IsOwned(entryLock, root))
            {
                return TeeReturnCode.Busy;
            }

            _ = Interlocked.Increment(ref _count);
            _waiting[root] = entryLock;
            bool isInside;
            while (!(isInside = entryLock.TryTake(root)) && request is not { IsCancellationRequested: true })
            {
                _ = Monitor.Wait(_monitor);
            }

            _ = _waiting.Remove(root);
            _ = Interlocked.Decrement(ref _count);
            return isInside ? TeeReturnCode.Success : TeeReturnCode.Cancel;
        }
    }

    // Whether an operation is inside a lock, or inside what the one inside waits for, and so on.
    private bool IsOwned(EntryLock entryLock, TeeRequest root)
    {
        EntryLock? next = entryLock;
        while (next?.Owner is { } owner)
        {
            if (owner == root)
            {
                return true;
            }

            next = _waiting.GetValueOrDefault(owner);
        }

        return false;
    }

    private bool Sleep(TimeSpan time, OperationCancellation cancellation, CancellationToken cancellationToken)
    {
        long start = Stopwatch.GetTimestamp();
        lock (_monitor)
        {
            while (!cancellation.IsRequested && !cancellationToken.IsCancellationRequested)
            {
                TimeSpan left = time == Timeout.InfiniteTimeSpan
                    ? TimeSpan.MaxValue
                    : time - Stopwatch.GetElapsedTime(start);
                if (left <= TimeSpan.Zero)
                {
                    return true;
                }

                // Others wake, too, when a lock is left; and one wait lasts 24 days at most.
                _ = Monitor.Wait(_monitor, (int)Math.Min(Math.Ceiling(left.TotalMilliseconds), int.MaxValue));
            }

            return false;
        }
    }
}
