using System.Runtime.CompilerServices;
using OpTeeMediator.Protocol;

namespace OpTeeMediator.Backends;

/// <summary>What a backend can ask of the guest while it performs an operation: OP-TEE's remote procedure calls (RPC).</summary>
/// <remarks>
/// <para>One call at a time, and only while the operation runs. The vCPU carries the call to the guest, which answers when it likes, on
/// whichever vCPU: a supplicant's answer may take for ever. When the guest is gone, or starts anew, calls return
/// <see cref="TeeReturnCode.Communication"/> at once.</para>
/// <para><b>Answers are hostile input</b>: codes, values, sizes and memory are whatever the guest likes. Sizes may exceed the buffer
/// that was offered; memory changes under the reader's hands.</para>
/// <para>On the slot's prepared thread every method blocks until the guest has answered: what the asynchronous ones return is complete, so it may be
/// awaited, or its result taken. An inline operation goes on after its await on the vCPU's thread that brings the answer. An operation for which a
/// thread is prepared, but which has left that thread by an await of its own, goes on where that await would: in its synchronization context, or
/// on the thread pool.</para>
/// <para><b>While the VM is paused</b> (<see cref="Guests.OpTeeGuest.PauseAsync"/>) no call returns: what the guest has answered is handed on when the VM is
/// resumed. A backend that waits for anything else says so with <see cref="BeginWait"/>, so that its guest cannot prevent a pause.</para>
/// <para>Source: OP-TEE's <c>optee_rpc_cmd.h</c> (<see cref="OpTeeRpc"/>).</para>
/// </remarks>
public abstract class GuestServices
{
    /// <summary>The most parameters that a call can have.</summary>
    public const int ParameterCount = 4;

    private protected GuestServices()
    {
    }

    /// <summary>The parameters of the call: to be set before it, with the guest's answers after it.</summary>
    public abstract Span<TeeParameter> Parameters { get; }

    /// <summary>Makes a call with the first <paramref name="parameters"/> of <see cref="Parameters"/>.</summary>
    /// <param name="command">The command, see <see cref="OpTeeRpc"/>; memory must come from <see cref="AllocateAsync"/>.</param>
    /// <param name="parameters">How many parameters, 0–4.</param>
    /// <returns>
    /// What the guest answered; <see cref="TeeReturnCode.Communication"/> if it is gone, <see cref="TeeReturnCode.OutOfMemory"/> if it has no memory for
    /// the message. To be awaited once, and before the next call.
    /// </returns>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="parameters"/> is outside 0–4.</exception>
    /// <exception cref="InvalidOperationException">A call is being made already, or no operation runs.</exception>
    public abstract ValueTask<TeeReturnCode> CallAsync(uint command, int parameters);

    /// <summary>As <see cref="CallAsync"/>, for operations on a worker thread that would rather block.</summary>
    /// <param name="command">The command.</param>
    /// <param name="parameters">How many parameters, 0–4.</param>
    /// <returns>What the guest answered.</returns>
    /// <exception cref="InvalidOperationException">The operation runs inline, where it may not block, or has left its prepared thread.</exception>
    public abstract TeeReturnCode CallAndBlock(uint command, int parameters);

    /// <summary>Asks for memory that the guest shares.</summary>
    /// <param name="kind">With whom.</param>
    /// <param name="size">The size in bytes, 1 or more.</param>
    /// <returns>The memory, for this operation only; <see langword="null"/> if the guest has none, or offers what it may not.</returns>
    public abstract ValueTask<TeeSharedMemory?> AllocateAsync(GuestMemoryKind kind, int size);

    /// <summary>As <see cref="AllocateAsync"/>, for operations on a worker thread that would rather block.</summary>
    /// <param name="kind">With whom.</param>
    /// <param name="size">The size in bytes, 1 or more.</param>
    /// <returns>The memory, for this operation only; <see langword="null"/> if the guest has none, or offers what it may not.</returns>
    /// <exception cref="InvalidOperationException">The operation runs inline, where it may not block.</exception>
    public abstract TeeSharedMemory? AllocateAndBlock(GuestMemoryKind kind, int size);

    /// <summary>Gives memory back to the guest. What is not given back when the operation ends, the mediator gives back.</summary>
    /// <param name="memory">Memory from <see cref="AllocateAsync"/> of this operation.</param>
    /// <returns>What the guest answered.</returns>
    public abstract ValueTask<TeeReturnCode> FreeAsync(TeeSharedMemory memory);

    /// <summary>As <see cref="FreeAsync"/>, for operations on a worker thread that would rather block.</summary>
    /// <param name="memory">Memory that this operation allocated.</param>
    /// <returns>What the guest answered.</returns>
    /// <exception cref="InvalidOperationException">The operation runs inline, where it may not block.</exception>
    public abstract TeeReturnCode FreeAndBlock(TeeSharedMemory memory);

    /// <summary>
    /// Says that the operation waits now for something that may take long, such as its turn or time, and that it touches nothing until
    /// <see cref="EndWait"/> has returned: the VM can be paused meanwhile.
    /// </summary>
    /// <exception cref="InvalidOperationException">The operation runs inline, where it may not wait, or has left its prepared thread.</exception>
    /// <remarks>Not to be nested; calls to the guest wait by themselves. Costs nothing worth mentioning.</remarks>
    public abstract void BeginWait();

    /// <summary>The operation wants to go on: returns at once, or when the VM is resumed if it is paused.</summary>
    public abstract void EndWait();

    /// <summary>Asks for the guest's time.</summary>
    /// <returns>The time since 1970-01-01, UTC, as the guest says; <see langword="null"/> if it does not.</returns>
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    public async ValueTask<TimeSpan?> GetTimeAsync()
    {
        Parameters[0] = TeeParameter.Value(TeeParameterKind.ValueOutput, 0, 0);
        return await CallAsync(OpTeeRpc.GetTime, 1) == TeeReturnCode.Success ? ToTime(Parameters[0].A, Parameters[0].B) : null;
    }

    /// <summary>Has the guest's thread sleep.</summary>
    /// <param name="time">How long, in whole milliseconds.</param>
    /// <returns>What the guest answered, when the time is over.</returns>
    public ValueTask<TeeReturnCode> SuspendAsync(TimeSpan time)
    {
        Parameters[0] = TeeParameter.Value(TeeParameterKind.ValueInput, (ulong)time.TotalMilliseconds, 0);
        return CallAsync(OpTeeRpc.Suspend, 1);
    }

    /// <summary>Has the guest's thread sleep until another operation sends the same notification.</summary>
    /// <param name="notification"><see cref="FirstNotification"/> to <see cref="LastNotification"/>.</param>
    /// <returns>What the guest answered; it may wake for no reason.</returns>
    public ValueTask<TeeReturnCode> WaitForNotificationAsync(uint notification)
    {
        Parameters[0] = TeeParameter.Value(TeeParameterKind.ValueInput, OpTeeRpc.NotificationWait, notification);
        return CallAsync(OpTeeRpc.Notification, 1);
    }

    /// <summary>Wakes the thread that waits for a notification; if none does, the next to wait does not sleep.</summary>
    /// <param name="notification">The number.</param>
    /// <returns>What the guest answered.</returns>
    public ValueTask<TeeReturnCode> SendNotificationAsync(uint notification)
    {
        Parameters[0] = TeeParameter.Value(TeeParameterKind.ValueInput, OpTeeRpc.NotificationSend, notification);
        return CallAsync(OpTeeRpc.Notification, 1);
    }

    /// <summary>The lowest notification for backends; below are the mediator's own.</summary>
    public static uint FirstNotification => 65;

    /// <summary>The highest notification for backends: Linux has no room for more where asynchronous notifications are not agreed on.</summary>
    public static uint LastNotification => 254;

    private static TimeSpan? ToTime(ulong seconds, ulong nanoseconds) =>
        seconds <= 1UL << 35 && nanoseconds < 1_000_000_000 ? TimeSpan.FromTicks((long)((seconds * TimeSpan.TicksPerSecond) + (nanoseconds / 100))) : null;
}
