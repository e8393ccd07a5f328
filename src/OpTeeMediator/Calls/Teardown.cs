using OpTeeMediator.Backends;
using OpTeeMediator.SharedMemory;

namespace OpTeeMediator.Calls;

/// <summary>Ends a life of the guest's driver: its calls, then its sessions, then its memory.</summary>
/// <remarks>
/// Nothing is freed that a call still uses: the calls are asked to end and waited for, however long that takes, on a thread of this work's own.
/// </remarks>
internal static class Teardown
{
    /// <summary>Ends an incarnation.</summary>
    /// <param name="calls">The guest's calls.</param>
    /// <param name="partition">The backend's partition.</param>
    /// <param name="buffers">Where its buffers go back to.</param>
    /// <param name="incarnation">The incarnation; it takes no new calls from now on.</param>
    /// <param name="finished">What to do at the end, with the first failure if there was one.</param>
    public static void Begin(
        YieldingCalls calls,
        ITeePartition partition,
        SharedBufferPool buffers,
        Incarnation incarnation,
        Action<Exception?> finished)
    {
        incarnation.Retire();
        foreach (CallSlot slot in calls.Slots.All)
        {
            slot.TryCancel(incarnation);
            slot.TryAbandon(incarnation);
        }

        new Thread(() => finished(Clear(calls, partition, buffers, incarnation)))
        {
            IsBackground = true,
            Name = "optee teardown",
        }.Start();
    }

    private static Exception? Clear(YieldingCalls calls, ITeePartition partition, SharedBufferPool buffers, Incarnation incarnation)
    {
        _ = calls.Slots.WaitUntil(static (slots, incarnation) => slots.CountOf(incarnation) == 0, incarnation, Timeout.InfiniteTimeSpan);

        Exception? failure = null;
        while (incarnation.Sessions.FindAny() is { } session)
        {
            TeeRequest closing = new() { Operation = TeeOperation.CloseSession, Guest = new AbsentGuest() };
            Try(() => session.Backend?.CloseAsync(closing) ?? ValueTask.CompletedTask, ref failure);
            using (incarnation.Gate.Enter())
            {
                incarnation.Sessions.Remove(session);
            }
        }

        while (TakeAnyBuffer(incarnation) is { } buffer)
        {
            Try(() => partition.UnregisterMemoryAsync(buffer), ref failure);
            buffers.Return(buffer);
        }

        return failure;
    }

    private static SharedBuffer? TakeAnyBuffer(Incarnation incarnation)
    {
        using (incarnation.Gate.Enter())
        {
            return incarnation.Memory.RemoveAny();
        }
    }

    // One backend failure must not keep the rest from being freed.
    private static void Try(Func<ValueTask> operation, ref Exception? failure)
    {
        try
        {
            operation().AsTask().GetAwaiter().GetResult();
        }
        catch (Exception exception)
        {
            failure ??= exception;
        }
    }
}
