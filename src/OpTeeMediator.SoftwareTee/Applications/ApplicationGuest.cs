using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;
using OpTeeMediator.SoftwareTee.Operations;

namespace OpTeeMediator.SoftwareTee.Applications;

/// <summary>
/// The calls that a trusted application can make to its guest while an entry point of a session runs: OP-TEE's calls to
/// normal world.
/// </summary>
/// <remarks>
/// <para>Each call has two forms. <c>X</c> blocks until the guest has answered, and is for the operation's thread only.
/// <c>XAsync</c> is to be awaited, and may be used on any thread of an asynchronous entry point: on the operation's own
/// it blocks too, on another one, after a <c>ConfigureAwait(false)</c>, the operation's thread makes the call as soon
/// as it waits for the entry point. Both throw <see cref="InvalidOperationException"/> where no operation runs, or an
/// inline one: the application's manifest must name <see cref="TeeExecution.Worker"/>. On the operation's thread no
/// call allocates, except where its description says so.</para>
/// <para>The vCPU carries the call and is free meanwhile; the session, and the instance unless it is concurrent, is
/// busy, as in OP-TEE. The guest answers when it likes; a supplicant may never answer. A client's cancellation does not
/// end a call, because the client's thread is with the guest: see <see cref="ApplicationCall.IsCancellationRequested"/>
/// afterwards. When the guest is gone or has started again, calls return <see cref="TeeReturnCode.Communication"/> at
/// once.</para>
/// <para><b>Answers are hostile input</b>, like the client's parameters. Not thread-safe.</para>
/// </remarks>
public sealed class ApplicationGuest
{
    private readonly RunningOperation _operation;

    internal ApplicationGuest(RunningOperation operation)
    {
        _operation = operation;
        Files = new GuestFileSystem(operation);
    }

    /// <summary>The files of the guest's tee-supplicant.</summary>
    public GuestFileSystem Files { get; }

    /// <summary>Asks for the guest's time (TEE_GetREETime).</summary>
    /// <param name="time">The time in the guest's words, which may go backwards and be any.</param>
    /// <returns>The guest's answer; TEE_ERROR_BAD_FORMAT if its time is none.</returns>
    public TeeReturnCode GetTime(out DateTimeOffset time)
    {
        (TeeReturnCode code, TimeSpan sinceEpoch) = _operation.Guest.GetTime();
        time = DateTimeOffset.UnixEpoch + sinceEpoch;
        return code;
    }

    /// <summary>Asks for the guest's time, as <see cref="GetTime"/>.</summary>
    /// <returns>The guest's answer and its time.</returns>
    public ValueTask<GuestAnswer<DateTimeOffset>> GetTimeAsync() =>
        _operation.RunAsync(
            this, static guest => new GuestAnswer<DateTimeOffset>(guest.GetTime(out DateTimeOffset time), time));

    /// <summary>
    /// Makes the guest's thread sleep, regardless of cancellations; <see cref="ApplicationCall.Wait(TimeSpan)"/> reacts
    /// to them.
    /// </summary>
    /// <param name="time">How long, in whole milliseconds: 0 to <see cref="uint.MaxValue"/>.</param>
    /// <returns>The guest's answer, when the time is over.</returns>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="time"/> is negative or too long.</exception>
    public TeeReturnCode Suspend(TimeSpan time) => _operation.Guest.Suspend(time);

    /// <inheritdoc cref="Suspend"/>
    public ValueTask<TeeReturnCode> SuspendAsync(TimeSpan time) =>
        _operation.RunAsync((Guest: this, Time: time), static state => state.Guest.Suspend(state.Time));

    /// <summary>Makes the guest's thread sleep until another operation sends the same notification.</summary>
    /// <param name="notification">
    /// <see cref="GuestServices.FirstNotification"/> to <see cref="GuestServices.LastNotification"/>; the applications
    /// of a VM share them.
    /// </param>
    /// <returns>The guest's answer; it may wake for no reason.</returns>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="notification"/> is none of these.</exception>
    public TeeReturnCode WaitForNotification(uint notification) => _operation.Guest.WaitForNotification(notification);

    /// <inheritdoc cref="WaitForNotification"/>
    public ValueTask<TeeReturnCode> WaitForNotificationAsync(uint notification) =>
        _operation.RunAsync(
            (Guest: this, Number: notification), static state => state.Guest.WaitForNotification(state.Number));

    /// <summary>Wakes the thread that waits for a notification; if none does, the next one does not sleep.</summary>
    /// <param name="notification">
    /// <see cref="GuestServices.FirstNotification"/> to <see cref="GuestServices.LastNotification"/>.
    /// </param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="notification"/> is none of these.</exception>
    public TeeReturnCode SendNotification(uint notification) => _operation.Guest.SendNotification(notification);

    /// <inheritdoc cref="SendNotification"/>
    public ValueTask<TeeReturnCode> SendNotificationAsync(uint notification) =>
        _operation.RunAsync(
            (Guest: this, Number: notification), static state => state.Guest.SendNotification(state.Number));

    /// <summary>Asks for memory that the guest shares, within the VM's limits. Allocates one small object.</summary>
    /// <param name="kind">With whom: calls to the supplicant need its memory.</param>
    /// <param name="size">The size in bytes, 1 or more.</param>
    /// <returns>
    /// The memory, until it is disposed of or the operation ends, a panic included; <see langword="null"/> if the guest
    /// has none, is gone, or offers what it may not.
    /// </returns>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="size"/> is less than 1.</exception>
    public GuestBuffer? Allocate(GuestMemoryKind kind, int size) =>
        _operation.Guest.Allocate(kind, size) is { } memory ? new GuestBuffer(_operation, memory) : null;

    /// <inheritdoc cref="Allocate"/>
    public ValueTask<GuestBuffer?> AllocateAsync(GuestMemoryKind kind, int size) =>
        _operation.RunAsync(
            (Guest: this, Kind: kind, Size: size), static state => state.Guest.Allocate(state.Kind, state.Size));

    /// <summary>Makes any other call, mostly to the supplicant: <see cref="OpTeeRpc"/> has the commands.</summary>
    /// <param name="command">The command.</param>
    /// <param name="parameters">
    /// Up to four parameters, made with <see cref="TeeParameter.Value(TeeParameterKind, ulong, ulong)"/> and
    /// <see cref="GuestBuffer.AsParameter"/>; they receive the guest's outputs.
    /// </param>
    /// <returns>
    /// The guest's answer; TEE_ERROR_SECURITY if it claims success and more output than fits. With other codes sizes
    /// are not checked, because TEE_ERROR_SHORT_BUFFER comes with the size that is needed.
    /// </returns>
    /// <exception cref="ArgumentException">There are too many parameters, or the command concerns memory.</exception>
    public TeeReturnCode Call(uint command, Span<TeeParameter> parameters)
    {
        if (command is OpTeeRpc.AllocateSharedMemory or OpTeeRpc.FreeSharedMemory)
        {
            throw new ArgumentException(
                $"Memory is allocated with {nameof(Allocate)} and freed with "
                    + $"{nameof(GuestBuffer)}.{nameof(GuestBuffer.Dispose)}.",
                nameof(command));
        }

        return _operation.Call(command, parameters);
    }

    /// <inheritdoc cref="Call"/>
    public ValueTask<TeeReturnCode> CallAsync(uint command, Memory<TeeParameter> parameters) =>
        _operation.RunAsync(
            (Guest: this, Command: command, Parameters: parameters),
            static state => state.Guest.Call(state.Command, state.Parameters.Span));
}
