using System.Diagnostics;
using OpTeeMediator.Backends;

namespace OpTeeMediator.SoftwareTee.Operations;

/// <summary>Lets one entry point in at a time, as OP-TEE's session lock and an instance's busy flag.</summary>
/// <remarks>
/// Belongs to an operation, not to a thread: an asynchronous entry point may leave on another thread. Free, it costs
/// two interlocked instructions. Thread-safe.
/// </remarks>
/// <param name="queue">Where operations wait; shared by the entry locks of a partition.</param>
internal sealed class EntryLock(EntryLockQueue queue)
{
    /// <summary>
    /// How long an inline operation waits on its vCPU's thread. The application inside needs microseconds, by its own
    /// declaration, unless the host has taken the CPU from it: then yielding for this long gives it back in most cases.
    /// </summary>
    private static readonly long InlinePatience = Stopwatch.Frequency / 1000;

    private int _isTaken;

    /// <summary>Enters, waiting as long as the application's execution permits.</summary>
    /// <param name="execution">Where the operation runs.</param>
    /// <param name="request">The operation.</param>
    /// <param name="refusal">TEE_ERROR_CANCEL if cancelled meanwhile; TEE_ERROR_BUSY if inline and too late.</param>
    public bool TryEnter(TeeExecution execution, TeeRequest request, out TeeReturnCode refusal)
    {
        refusal = TeeReturnCode.Success;
        if (TryTake())
        {
            return true;
        }

        if (execution == TeeExecution.Inline)
        {
            refusal = TeeReturnCode.Busy;
            return Spin();
        }

        refusal = TeeReturnCode.Cancel;
        return queue.Wait(this, request, request.Guest);
    }

    /// <summary>Enters, however long it takes.</summary>
    public void Enter(GuestServices? guest)
    {
        if (!TryTake())
        {
            _ = queue.Wait(this, null, guest);
        }
    }

    /// <summary>Enters if nobody is inside.</summary>
    public bool TryTake() => Volatile.Read(ref _isTaken) == 0 && Interlocked.CompareExchange(ref _isTaken, 1, 0) == 0;

    public void Exit()
    {
        // A full fence before the queue is looked at: a waiter counts itself first and tries again then.
        _ = Interlocked.Exchange(ref _isTaken, 0);
        queue.WakeIfAny();
    }

    private bool Spin()
    {
        SpinWait spin = default;
        long start = Stopwatch.GetTimestamp();
        while (!TryTake())
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
