using System.Diagnostics;
using OpTeeMediator.Backends;

namespace OpTeeMediator.SoftwareTee.Operations;

/// <summary>Lets one entry point in at a time, as OP-TEE's session lock and an instance's busy flag.</summary>
/// <remarks>
/// Belongs to an operation of the guest, with all operations that applications make for it; not to a thread: an
/// asynchronous entry point may leave on another one. Free, it costs two interlocked instructions. Thread-safe.
/// </remarks>
/// <param name="queue">Where operations wait; shared by the entry locks of a partition.</param>
internal sealed class EntryLock(EntryLockQueue queue)
{
    /// <summary>
    /// How long an inline operation waits on its vCPU's thread. The application inside needs microseconds, by its own
    /// declaration, unless the host has taken the CPU from it: then yielding for this long gives it back in most cases.
    /// </summary>
    private static readonly long InlinePatience = Stopwatch.Frequency / 1000;

    private TeeRequest? _owner;

    /// <summary>The guest's operation that is inside.</summary>
    public TeeRequest? Owner => Volatile.Read(ref _owner);

    /// <summary>Enters, waiting as long as the application's execution permits.</summary>
    /// <param name="execution">Where the operation runs.</param>
    /// <param name="request">The operation.</param>
    /// <param name="root">The guest's operation for which it is made, or itself.</param>
    /// <returns>
    /// Success; TEE_ERROR_CANCEL if cancelled meanwhile; TEE_ERROR_BUSY if inline and too late, or if waiting would
    /// never end, because what is inside waits for what <paramref name="root"/> is inside of.
    /// </returns>
    public TeeReturnCode Enter(TeeExecution execution, TeeRequest request, TeeRequest root)
    {
        if (TryTake(root))
        {
            return TeeReturnCode.Success;
        }

        return execution == TeeExecution.Inline
            ? Spin(root) ? TeeReturnCode.Success : TeeReturnCode.Busy
            : queue.Wait(this, request, root, request.Guest);
    }

    /// <summary>Enters, however long it takes.</summary>
    /// <returns><see langword="false"/> if waiting would never end.</returns>
    public bool TryEnter(TeeRequest root, GuestServices? guest) =>
        TryTake(root) || queue.Wait(this, null, root, guest) == TeeReturnCode.Success;

    /// <summary>Enters if nobody is inside.</summary>
    public bool TryTake(TeeRequest root) =>
        Owner is null && Interlocked.CompareExchange(ref _owner, root, null) is null;

    public void Exit()
    {
        // A full fence before the queue is looked at: a waiter counts itself first and tries again then.
        _ = Interlocked.Exchange(ref _owner, null);
        queue.WakeIfAny();
    }

    private bool Spin(TeeRequest root)
    {
        SpinWait spin = default;
        long start = Stopwatch.GetTimestamp();
        while (!TryTake(root))
        {
            if (Stopwatch.GetTimestamp() - start > InlinePatience)
            {
                return false;
            }

            spin.SpinOnce(sleep1Threshold: -1);
        }

        return true;
    }
}
