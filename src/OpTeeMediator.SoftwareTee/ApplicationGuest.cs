using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;

namespace OpTeeMediator.SoftwareTee;

/// <summary>What a trusted application can ask of its guest while an entry point of a session runs: OP-TEE's calls to normal world.</summary>
/// <remarks>
/// <para>Every method blocks until the guest has answered, and throws where nothing may block: the application's manifest must say
/// <see cref="TeeExecution.Worker"/>. The vCPU carries the call and is free meanwhile; the session, and the instance unless it is concurrent, is busy, as in OP-TEE.
/// No call allocates, except where it says so.</para>
/// <para>The guest answers when it likes; a supplicant may take for ever. A client's cancellation does not end a call, for the client's thread is
/// with the guest: look at <see cref="ApplicationCall.IsCancellationRequested"/> afterwards. When the guest is gone or starts again, calls return
/// <see cref="TeeReturnCode.Communication"/> at once.</para>
/// <para><b>Answers are hostile input</b>, like the client's parameters. Not thread-safe.</para>
/// </remarks>
public sealed class ApplicationGuest
{
    // Year 3058: beyond that, a time is not one.
    private const ulong LatestSecond = 1UL << 35;
    private const ulong NanosecondsPerSecond = 1_000_000_000;
    private const ulong NanosecondsPerTick = 100;

    private readonly ApplicationCall _call;

    internal ApplicationGuest(ApplicationCall call)
    {
        _call = call;
        Files = new GuestFileSystem(this);
    }

    /// <summary>The files of the guest's tee-supplicant.</summary>
    public GuestFileSystem Files { get; }

    /// <summary>Counts operations, so that what belongs to an earlier one is told apart.</summary>
    internal int Operation => _call.Operation;

    private GuestServices Services => _call.GuestServices;

    /// <summary>Asks for the guest's time (TEE_GetREETime).</summary>
    /// <param name="time">The time as the guest says, which may go backwards and be any.</param>
    /// <returns>What the guest answered; TEE_ERROR_BAD_FORMAT if its time is none.</returns>
    /// <exception cref="InvalidOperationException">No operation runs, or it runs inline.</exception>
    public TeeReturnCode GetTime(out DateTimeOffset time)
    {
        GuestServices services = Services;
        ref TeeParameter answer = ref services.Parameters[0];
        answer = TeeParameter.Value(TeeParameterKind.ValueOutput, 0, 0);
        time = DateTimeOffset.UnixEpoch;
        TeeReturnCode code = services.CallAndBlock(OpTeeRpc.GetTime, 1);
        if (code != TeeReturnCode.Success)
        {
            return code;
        }

        if (answer.A > LatestSecond || answer.B >= NanosecondsPerSecond)
        {
            return TeeReturnCode.BadFormat;
        }

        time = time.AddTicks((long)((answer.A * TimeSpan.TicksPerSecond) + (answer.B / NanosecondsPerTick)));
        return TeeReturnCode.Success;
    }

    /// <summary>Has the guest's thread sleep, whatever happens meanwhile; <see cref="ApplicationCall.Wait"/> reacts to a cancellation.</summary>
    /// <param name="time">How long, in whole milliseconds: 0 to <see cref="uint.MaxValue"/>.</param>
    /// <returns>What the guest answered, when the time is over.</returns>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="time"/> is negative or too long.</exception>
    /// <exception cref="InvalidOperationException">No operation runs, or it runs inline.</exception>
    public TeeReturnCode Suspend(TimeSpan time)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(time, TimeSpan.Zero);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(time, TimeSpan.FromMilliseconds(uint.MaxValue));
        return CallWithValue(OpTeeRpc.Suspend, (ulong)time.TotalMilliseconds, 0);
    }

    /// <summary>Has the guest's thread sleep until another operation sends the same notification.</summary>
    /// <param name="notification">
    /// <see cref="GuestServices.FirstNotification"/> to <see cref="GuestServices.LastNotification"/>; the applications of a VM share them.
    /// </param>
    /// <returns>What the guest answered; it may wake for no reason.</returns>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="notification"/> is none of these.</exception>
    /// <exception cref="InvalidOperationException">No operation runs, or it runs inline.</exception>
    public TeeReturnCode WaitForNotification(uint notification) => CallWithValue(OpTeeRpc.Notification, OpTeeRpc.NotificationWait, Checked(notification));

    /// <summary>Wakes the thread that waits for a notification; if none does, the next to wait does not sleep.</summary>
    /// <param name="notification"><see cref="GuestServices.FirstNotification"/> to <see cref="GuestServices.LastNotification"/>.</param>
    /// <returns>What the guest answered.</returns>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="notification"/> is none of these.</exception>
    /// <exception cref="InvalidOperationException">No operation runs, or it runs inline.</exception>
    public TeeReturnCode SendNotification(uint notification) => CallWithValue(OpTeeRpc.Notification, OpTeeRpc.NotificationSend, Checked(notification));

    /// <summary>Asks for memory that the guest shares; it counts against the VM's limits. Allocates one small object.</summary>
    /// <param name="kind">With whom: calls to the supplicant need its memory.</param>
    /// <param name="size">The size in bytes, 1 or more.</param>
    /// <returns>
    /// The memory, until it is disposed of or the operation ends, a panic included; <see langword="null"/> if the guest has none, is gone, or offers
    /// what it may not.
    /// </returns>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="size"/> is less than 1.</exception>
    /// <exception cref="InvalidOperationException">No operation runs, or it runs inline.</exception>
    public GuestBuffer? Allocate(GuestMemoryKind kind, int size) =>
        Services.AllocateAndBlock(kind, size) is { } memory ? new GuestBuffer(this, memory) : null;

    /// <summary>Makes any other call, mostly to the supplicant: <see cref="OpTeeRpc"/> has the commands.</summary>
    /// <param name="command">The command.</param>
    /// <param name="parameters">
    /// Up to four parameters, made with <see cref="TeeParameter.Value"/> and <see cref="GuestBuffer.AsParameter"/>; they receive the guest's outputs.
    /// </param>
    /// <returns>
    /// What the guest answered; TEE_ERROR_SECURITY if it claims success and more output than fits. With other codes sizes are not checked, for
    /// TEE_ERROR_SHORT_BUFFER tells the size that is needed.
    /// </returns>
    /// <exception cref="ArgumentException">There are too many parameters, or the command has a method of its own here: memory.</exception>
    /// <exception cref="InvalidOperationException">No operation runs, or it runs inline.</exception>
    public TeeReturnCode Call(uint command, Span<TeeParameter> parameters)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(parameters.Length, GuestServices.ParameterCount, nameof(parameters));
        if (command is OpTeeRpc.AllocateSharedMemory or OpTeeRpc.FreeSharedMemory)
        {
            throw new ArgumentException($"Memory comes from {nameof(Allocate)} and goes with {nameof(GuestBuffer)}.{nameof(GuestBuffer.Dispose)}.", nameof(command));
        }

        GuestServices services = Services;
        parameters.CopyTo(services.Parameters);
        TeeReturnCode code = services.CallAndBlock(command, parameters.Length);
        services.Parameters[..parameters.Length].CopyTo(parameters);
        return code == TeeReturnCode.Success && ClaimsTooMuch(parameters) ? TeeReturnCode.Security : code;
    }

    /// <summary>Gives memory back.</summary>
    internal void Free(TeeSharedMemory memory) => _ = Services.FreeAndBlock(memory);

    private TeeReturnCode CallWithValue(uint command, ulong a, ulong b)
    {
        GuestServices services = Services;
        services.Parameters[0] = TeeParameter.Value(TeeParameterKind.ValueInput, a, b);
        return services.CallAndBlock(command, 1);
    }

    private static uint Checked(uint notification)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(notification, GuestServices.FirstNotification);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(notification, GuestServices.LastNotification);
        return notification;
    }

    // Of a NULL reference the size that is needed is a success, too.
    private static bool ClaimsTooMuch(ReadOnlySpan<TeeParameter> parameters)
    {
        foreach (ref readonly TeeParameter parameter in parameters)
        {
            if (parameter is { IsMemory: true, Memory: not null } && parameter.Size > parameter.Capacity)
            {
                return true;
            }
        }

        return false;
    }
}
