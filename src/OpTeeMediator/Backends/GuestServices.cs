using System.Runtime.CompilerServices;
using OpTeeMediator.Protocol;

namespace OpTeeMediator.Backends;

/// <summary>The calls to the guest that an operation can make: OP-TEE's remote procedure calls (RPC).</summary>
/// <remarks>
/// <para>Each call has two forms. <c>X</c> blocks until the guest has answered; only the thread that is prepared for
/// the operation may use it (<see cref="TeeExecution.Worker"/>), elsewhere it throws
/// <see cref="InvalidOperationException"/>. <c>XAsync</c> is to be awaited, once and before the next call, and serves
/// inline operations too.</para>
/// <para>One call at a time, and only while the operation runs; otherwise <see cref="InvalidOperationException"/> is
/// thrown. The vCPU carries the call to the guest, which answers when it likes, on whichever vCPU: a supplicant may
/// never answer. When the guest is gone, or has started again, calls return <see cref="TeeReturnCode.Communication"/>
/// at once; when it has no memory for the message, <see cref="TeeReturnCode.OutOfMemory"/>.</para>
/// <para><b>Answers are hostile input</b>: codes, values, sizes and memory are whatever the guest likes. Sizes may
/// exceed the buffer that was offered; memory changes while it is read.</para>
/// <para>On the operation's prepared thread the asynchronous forms block too, and what they return is complete. An
/// inline operation continues after its await on the vCPU's thread that brings the answer. An operation that has left
/// its prepared thread by an await of its own continues in its synchronization context, or on the thread pool.</para>
/// <para><b>While the VM is paused</b> (<see cref="Guests.OpTeeGuest.PauseAsync"/>) no call returns: the guest's answer
/// is delivered when the VM is resumed. A backend that waits for anything else calls <see cref="BeginWait"/> first, so
/// that its guest cannot prevent a pause.</para>
/// <para>Source: OP-TEE's <c>optee_rpc_cmd.h</c> (<see cref="OpTeeRpc"/>).</para>
/// </remarks>
public abstract class GuestServices
{
    /// <summary>The most parameters that a call can have.</summary>
    public const int ParameterCount = 4;

    // Year 3058: beyond that, a time is not one.
    private const ulong LatestSecond = 1UL << 35;
    private const ulong NanosecondsPerSecond = 1_000_000_000;
    private const ulong NanosecondsPerTick = 100;

    private ParameterArray _parameters;

    private protected GuestServices()
    {
    }

    /// <summary>The lowest notification for backends; below are the mediator's own.</summary>
    public static uint FirstNotification => 65;

    /// <summary>The highest notification for backends: Linux has no room for more.</summary>
    public static uint LastNotification => 254;

    /// <summary>The parameters of the latest call, with the guest's outputs once it has answered.</summary>
    public ReadOnlySpan<TeeParameter> Parameters => _parameters;

    /// <summary>The same, for what writes the guest's outputs.</summary>
    internal Span<TeeParameter> WritableParameters => _parameters;

    /// <summary>Makes a call and blocks until the guest has answered.</summary>
    /// <param name="command">The command, see <see cref="OpTeeRpc"/>.</param>
    /// <param name="parameters">Up to four parameters, made with
    /// <see cref="TeeParameter.Value(TeeParameterKind, ulong, ulong, ulong)"/> and <see cref="TeeParameter.Reference"/>
    /// to memory from <see cref="Allocate"/>. The outputs are in <see cref="Parameters"/> afterwards.</param>
    /// <exception cref="ArgumentOutOfRangeException">There are more than four parameters.</exception>
    /// <exception cref="InvalidOperationException">This is not the operation's prepared thread, a call is being made
    /// already, or no operation runs.</exception>
    public TeeReturnCode Call(uint command, params ReadOnlySpan<TeeParameter> parameters)
    {
        SetParameters(parameters);
        return CallCore(command, parameters.Length);
    }

    /// <inheritdoc cref="Call" path="/*[not(self::summary)]"/>
    /// <summary>Makes a call.</summary>
    /// <exception cref="InvalidOperationException">A call is being made already, or no operation runs.</exception>
    public ValueTask<TeeReturnCode> CallAsync(uint command, params ReadOnlySpan<TeeParameter> parameters)
    {
        SetParameters(parameters);
        return CallCoreAsync(command, parameters.Length);
    }

    /// <summary>Asks for memory that the guest shares, and blocks until it has answered.</summary>
    /// <param name="kind">With whom.</param>
    /// <param name="size">The size in bytes, 1 or more.</param>
    /// <returns>The memory, for this operation only; <see langword="null"/> if the guest gives none.</returns>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="size"/> is less than 1.</exception>
    /// <exception cref="InvalidOperationException">As <see cref="Call"/>.</exception>
    public abstract TeeSharedMemory? Allocate(GuestMemoryKind kind, int size);

    /// <inheritdoc cref="Allocate" path="/*[not(self::summary)]"/>
    /// <summary>Asks for memory that the guest shares.</summary>
    public abstract ValueTask<TeeSharedMemory?> AllocateAsync(GuestMemoryKind kind, int size);

    /// <summary>Gives memory back to the guest, and blocks until it has answered. The mediator gives back what is left
    /// when the operation ends.</summary>
    /// <param name="memory">Memory that this operation allocated.</param>
    /// <exception cref="ArgumentException">It is no memory of this operation, or given back.</exception>
    /// <exception cref="InvalidOperationException">As <see cref="Call"/>.</exception>
    public abstract TeeReturnCode Free(TeeSharedMemory memory);

    /// <inheritdoc cref="Free" path="/*[not(self::summary)]"/>
    /// <summary>Gives memory back to the guest. The mediator gives back what is left when the operation ends.</summary>
    public abstract ValueTask<TeeReturnCode> FreeAsync(TeeSharedMemory memory);

    /// <summary>Asks for the guest's time, and blocks until it has answered.</summary>
    /// <returns>The time since 1970-01-01, UTC, in the guest's words: it may go backwards and be any.
    /// TEE_ERROR_BAD_FORMAT if it is no time.</returns>
    public GuestAnswer<TimeSpan> GetTime()
    {
        SetValue(TeeParameterKind.ValueOutput, 0, 0);
        return ToTime(CallCore(OpTeeRpc.GetTime, 1));
    }

    /// <inheritdoc cref="GetTime" path="/*[not(self::summary)]"/>
    /// <summary>Asks for the guest's time.</summary>
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    public async ValueTask<GuestAnswer<TimeSpan>> GetTimeAsync()
    {
        SetValue(TeeParameterKind.ValueOutput, 0, 0);
        return ToTime(await CallCoreAsync(OpTeeRpc.GetTime, 1));
    }

    /// <summary>Makes the guest's thread sleep, and blocks until the time is over.</summary>
    /// <param name="time">How long, in whole milliseconds: 0 to <see cref="uint.MaxValue"/>.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="time"/> is negative or too long.</exception>
    public TeeReturnCode Suspend(TimeSpan time)
    {
        SetMilliseconds(time);
        return CallCore(OpTeeRpc.Suspend, 1);
    }

    /// <inheritdoc cref="Suspend" path="/*[not(self::summary)]"/>
    /// <summary>Makes the guest's thread sleep.</summary>
    public ValueTask<TeeReturnCode> SuspendAsync(TimeSpan time)
    {
        SetMilliseconds(time);
        return CallCoreAsync(OpTeeRpc.Suspend, 1);
    }

    /// <summary>Makes the guest's thread sleep until the same notification is sent, and blocks as long.</summary>
    /// <param name="notification"><see cref="FirstNotification"/> to <see cref="LastNotification"/>.</param>
    /// <returns>The guest's answer; it may wake for no reason.</returns>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="notification"/> is none of these.</exception>
    public TeeReturnCode WaitForNotification(uint notification)
    {
        SetNotification(OpTeeRpc.NotificationWait, notification);
        return CallCore(OpTeeRpc.Notification, 1);
    }

    /// <inheritdoc cref="WaitForNotification" path="/*[not(self::summary)]"/>
    /// <summary>Makes the guest's thread sleep until another operation sends the same notification.</summary>
    public ValueTask<TeeReturnCode> WaitForNotificationAsync(uint notification)
    {
        SetNotification(OpTeeRpc.NotificationWait, notification);
        return CallCoreAsync(OpTeeRpc.Notification, 1);
    }

    /// <summary>Wakes the thread that waits for a notification, and blocks until the guest has answered. If none waits,
    /// the next to wait does not sleep.</summary>
    /// <param name="notification"><see cref="FirstNotification"/> to <see cref="LastNotification"/>.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="notification"/> is none of these.</exception>
    public TeeReturnCode SendNotification(uint notification)
    {
        SetNotification(OpTeeRpc.NotificationSend, notification);
        return CallCore(OpTeeRpc.Notification, 1);
    }

    /// <inheritdoc cref="SendNotification" path="/*[not(self::summary)]"/>
    /// <summary>Wakes the thread that waits for a notification. If none waits, the next one does not sleep.</summary>
    public ValueTask<TeeReturnCode> SendNotificationAsync(uint notification)
    {
        SetNotification(OpTeeRpc.NotificationSend, notification);
        return CallCoreAsync(OpTeeRpc.Notification, 1);
    }

    /// <summary>Declares that the operation waits from now on for something that may take long, and touches nothing
    /// until <see cref="EndWait"/> has returned: the VM can be paused meanwhile.</summary>
    /// <exception cref="InvalidOperationException">It runs inline, or has left its prepared thread.</exception>
    /// <remarks>Not to be nested; calls to the guest do this themselves. The cost is negligible.</remarks>
    public abstract void BeginWait();

    /// <summary>Ends what <see cref="BeginWait"/> began: at once, or when a paused VM is resumed.</summary>
    public abstract void EndWait();

    /// <summary>Makes a call with the first <paramref name="count"/> of <see cref="Parameters"/>, and blocks.</summary>
    private protected abstract TeeReturnCode CallCore(uint command, int count);

    /// <summary>Makes a call with the first <paramref name="count"/> of <see cref="Parameters"/>.</summary>
    private protected abstract ValueTask<TeeReturnCode> CallCoreAsync(uint command, int count);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void SetMilliseconds(TimeSpan time)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(time, TimeSpan.Zero);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(time, TimeSpan.FromMilliseconds(uint.MaxValue));
        SetValue(TeeParameterKind.ValueInput, (ulong)(time.Ticks / TimeSpan.TicksPerMillisecond), 0);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void SetNotification(uint what, uint notification)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(notification, FirstNotification);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(notification, LastNotification);
        SetValue(TeeParameterKind.ValueInput, what, notification);
    }

    // One value, where it is needed: copying a parameter costs as much as the rest of this class.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void SetValue(TeeParameterKind kind, ulong a, ulong b)
    {
        _parameters[0].SetValue(kind, a, b);
        ClearFrom(1);
    }

    private void SetParameters(ReadOnlySpan<TeeParameter> parameters)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(parameters.Length, ParameterCount, nameof(parameters));
        for (int index = 0; index < parameters.Length; index++)
        {
            _parameters[index].Set(parameters[index]);
        }

        ClearFrom(parameters.Length);
    }

    // Those of an earlier call may be another application's.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void ClearFrom(int first)
    {
        for (int index = first; index < ParameterCount; index++)
        {
            _parameters[index] = default;
        }
    }

    private GuestAnswer<TimeSpan> ToTime(TeeReturnCode code)
    {
        (ulong seconds, ulong nanoseconds) = (_parameters[0].A, _parameters[0].B);
        if (code != TeeReturnCode.Success || seconds > LatestSecond || nanoseconds >= NanosecondsPerSecond)
        {
            return new(code == TeeReturnCode.Success ? TeeReturnCode.BadFormat : code, default);
        }

        return new(
            code, new TimeSpan((long)((seconds * TimeSpan.TicksPerSecond) + (nanoseconds / NanosecondsPerTick))));
    }

    [InlineArray(ParameterCount)]
    private struct ParameterArray
    {
        private TeeParameter _element0;
    }
}
