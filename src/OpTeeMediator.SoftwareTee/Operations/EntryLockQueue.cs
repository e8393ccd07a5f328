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
    private int _count;

    /// <summary>Blocks the thread until it is inside a lock.</summary>
    /// <param name="entryLock">The lock.</param>
    /// <param name="request">Its cancellation ends the waiting; <see langword="null"/> if nothing does.</param>
    /// <param name="guest">Is told of the wait, so that the VM can be paused; or <see langword="null"/>.</param>
    public bool Wait(EntryLock entryLock, TeeRequest? request, GuestServices? guest)
    {
        guest?.BeginWait();
        bool isInside = Wait(entryLock, request);
        guest?.EndWait();
        return isInside;
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

    private bool Wait(EntryLock entryLock, TeeRequest? request)
    {
        lock (_monitor)
        {
            _ = Interlocked.Increment(ref _count);
            bool isInside;
            while (!(isInside = entryLock.TryTake()) && request is not { IsCancellationRequested: true })
            {
                _ = Monitor.Wait(_monitor);
            }

            _ = Interlocked.Decrement(ref _count);
            return isInside;
        }
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
