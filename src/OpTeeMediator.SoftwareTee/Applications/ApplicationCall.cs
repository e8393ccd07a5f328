using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Operations;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.SoftwareTee.Applications;

/// <summary>The argument of an entry point: a session, and the client's operation in it.</summary>
/// <remarks>
/// There is one object per session. The session's part (<see cref="Client"/>, <see cref="SessionContext"/>) lasts as
/// long as the session, the operation's part as long as the entry point. Not thread-safe, and it need not be: a session
/// runs one entry point at a time, all of it on one thread.
/// </remarks>
public sealed class ApplicationCall
{
    private readonly ApplicationParameter[] _parameters;
    private readonly RunningOperation _operation;
    private ApplicationGuest? _guest;
    private int _kinds;

    internal ApplicationCall(ClientIdentity client, RunningOperation operation, OpenedSessions opened)
    {
        Client = client;
        _operation = operation;
        Opened = opened;
        _parameters = new ApplicationParameter[TeeRequest.ParameterCount];
        for (int index = 0; index < _parameters.Length; index++)
        {
            _parameters[index] = new ApplicationParameter(operation, index);
        }
    }

    /// <summary>
    /// Who has opened the session. It is the guest's claim: its kernel has computed it, and nobody outside the guest
    /// vouches for it. The exception is <see cref="TeeLogin.TrustedApplication"/>: another application of the TEE, with
    /// its UUID.
    /// </summary>
    public ClientIdentity Client { get; }

    /// <summary>
    /// What the application keeps for the session (GlobalPlatform's session context). It belongs to the session: with
    /// the session, however that ends, it is disposed of if it is <see cref="IDisposable"/> or
    /// <see cref="IAsyncDisposable"/>.
    /// </summary>
    public object? SessionContext { get; set; }

    /// <summary>The command; 0 while a session is opened or closed.</summary>
    public uint CommandId => _operation.Request?.CommandId ?? 0;

    /// <summary>
    /// Whether the client wants the operation to end early and cancellations are not masked (TEE_GetCancellationFlag),
    /// or the VM is reset or gone. An application that can do so returns TEE_ERROR_CANCEL.
    /// </summary>
    /// <remarks>
    /// As with GlobalPlatform, cancellations are masked when an entry point begins: see
    /// <see cref="UnmaskCancellation"/>. The end of the VM cannot be masked. The restart of a guest's driver is a
    /// cancellation by the client.
    /// </remarks>
    public bool IsCancellationRequested => _operation.IsCancellationRequested;

    /// <summary>
    /// The same for waiting: a token for this operation, which is cancelled when <see cref="IsCancellationRequested"/>
    /// becomes true. It costs an allocation if it is used, and nothing if not.
    /// </summary>
    /// <remarks>Callbacks run on the thread pool. Without an operation: <see cref="CancellationToken.None"/>.</remarks>
    public CancellationToken CancellationToken => _operation.CancellationToken;

    /// <summary>Lets the client's cancellation take effect (TEE_UnmaskCancellation), an earlier one too.</summary>
    /// <returns>Whether cancellations were masked before, as they are when an entry point begins.</returns>
    /// <remarks>
    /// An application that never calls this is never cancelled by its client: a <see cref="Wait(TimeSpan)"/> that is a
    /// penalty lasts as long as it says. What shall outlast a reset of the VM must be kept outside of it.
    /// </remarks>
    public bool UnmaskCancellation() => _operation.SetMask(false);

    /// <summary>Masks the client's cancellation (TEE_MaskCancellation). A cancelled token stays cancelled.</summary>
    /// <returns>Whether cancellations were masked before.</returns>
    public bool MaskCancellation() => _operation.SetMask(true);

    /// <summary>
    /// What can be asked of the guest while an entry point runs. When a session is closed because its guest's driver or
    /// the VM is gone, every call returns <see cref="TeeReturnCode.Communication"/>.
    /// </summary>
    public ApplicationGuest Guest => _guest ??= new ApplicationGuest(_operation);

    /// <summary>The objects of the application: the same as <see cref="TrustedApplication.Storage"/>.</summary>
    public TrustedStorage Storage { get; internal init; } = TrustedStorage.None;

    /// <summary>The sessions that the application's instance has opened with others.</summary>
    internal OpenedSessions Opened { get; }

    /// <summary>The operation that the session runs.</summary>
    internal RunningOperation Operation => _operation;

    /// <summary>Whether the application has left files of the guest open.</summary>
    internal bool HasOpenFiles => _guest is { Files.HasOpen: true };

    /// <summary>One of the four parameters.</summary>
    /// <param name="index">0 to 3.</param>
    /// <exception cref="IndexOutOfRangeException"><paramref name="index"/> is none of these.</exception>
    public ApplicationParameter this[int index] => _parameters[index];

    /// <summary>Whether the client has sent parameters of these kinds (what TEE_PARAM_TYPES is compared for).</summary>
    /// <param name="kinds">
    /// Up to four kinds, beginning with parameter 0; the remaining parameters must be
    /// <see cref="TeeParameterKind.None"/>.
    /// </param>
    /// <returns><see langword="true"/> if it has; answer TEE_ERROR_BAD_PARAMETERS otherwise.</returns>
    public bool HasParameters(params ReadOnlySpan<TeeParameterKind> kinds)
    {
        int expected = 0;
        for (int index = 0; index < kinds.Length; index++)
        {
            expected |= Pack(kinds[index], index);
        }

        return _kinds == expected;
    }

    /// <summary>
    /// Waits without computing (TEE_Wait). The guest's thread sleeps meanwhile, where it takes notifications; nothing
    /// is allocated.
    /// </summary>
    /// <param name="time">0 or more; <see cref="Timeout.InfiniteTimeSpan"/> waits for a cancellation alone.</param>
    /// <returns>
    /// Success when the time is over; TEE_ERROR_CANCEL as soon as <see cref="IsCancellationRequested"/> is true, which
    /// the client can bring about only after <see cref="UnmaskCancellation"/>. The client does not cancel the closing
    /// of a session.
    /// </returns>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="time"/> is negative.</exception>
    /// <exception cref="InvalidOperationException">
    /// The application runs inline, or no entry point of the session runs on this thread (after an await with
    /// <c>ConfigureAwait(false)</c>).
    /// </exception>
    /// <remarks>While the VM is paused the wait does not end; its time continues.</remarks>
    public TeeReturnCode Wait(TimeSpan time) => Wait(time, CancellationToken.None);

    /// <inheritdoc cref="Wait(TimeSpan)" path="/*[not(self::param)]"/>
    /// <param name="time">0 or more; <see cref="Timeout.InfiniteTimeSpan"/> waits for a cancellation alone.</param>
    /// <param name="cancellationToken">The application's own cancellation, with the same effect.</param>
    public TeeReturnCode Wait(TimeSpan time, CancellationToken cancellationToken)
    {
        if (time != Timeout.InfiniteTimeSpan)
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(time, TimeSpan.Zero);
        }

        return _operation.Wait(time, cancellationToken) ? TeeReturnCode.Success : TeeReturnCode.Cancel;
    }

    /// <inheritdoc cref="WaitAsync(TimeSpan, CancellationToken)"/>
    public ValueTask<TeeReturnCode> WaitAsync(TimeSpan time) => WaitAsync(time, CancellationToken.None);

    /// <summary>
    /// Waits as <see cref="Wait(TimeSpan, CancellationToken)"/>, without blocking a thread: for asynchronous entry
    /// points, on any thread.
    /// </summary>
    /// <param name="time">0 to 49 days; <see cref="Timeout.InfiniteTimeSpan"/> waits for a cancellation alone.</param>
    /// <param name="cancellationToken">The application's own cancellation, with the same effect.</param>
    /// <returns>Success when the time is over; TEE_ERROR_CANCEL as soon as a cancellation is requested.</returns>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="time"/> is negative or too long.</exception>
    public async ValueTask<TeeReturnCode> WaitAsync(TimeSpan time, CancellationToken cancellationToken)
    {
        using CancellationTokenSource either =
            CancellationTokenSource.CreateLinkedTokenSource(CancellationToken, cancellationToken);
        const ConfigureAwaitOptions NotThrowing =
            ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ContinueOnCapturedContext;
        await Task.Delay(time, either.Token).ConfigureAwait(NotThrowing);
        return either.IsCancellationRequested ? TeeReturnCode.Cancel : TeeReturnCode.Success;
    }

    /// <inheritdoc cref="OpenSessionWith(Guid, Span{TeeParameter}, TimeSpan, out ClientSession?)"/>
    public TeeResult OpenSessionWith(Guid application, Span<TeeParameter> parameters, out ClientSession? session) =>
        OpenSessionWith(application, parameters, Timeout.InfiniteTimeSpan, out session);

    /// <summary>
    /// Opens a session with another application of this TEE (TEE_OpenTASession), which sees
    /// <see cref="TeeLogin.TrustedApplication"/> and the caller's UUID as its client. It runs on this thread, and has
    /// the same instances that the guest sees.
    /// </summary>
    /// <param name="application">Its UUID; the guest's <see cref="TeeAccess"/> does not matter.</param>
    /// <param name="parameters">
    /// Up to four parameters, made with <see cref="TeeParameter.Value(TeeParameterKind, ulong, ulong)"/>,
    /// <see cref="ApplicationMemory"/> and <see cref="ApplicationParameter.AsParameter"/>; they receive the outputs.
    /// </param>
    /// <param name="timeout">After this time the operation is cancelled, as the client would: 0 to 49 days.</param>
    /// <param name="session">The session, which ends with the caller's instance at the latest.</param>
    /// <returns>
    /// The other application's answer, or that of the TEE: TEE_ERROR_ITEM_NOT_FOUND; TEE_ERROR_BUSY if it has a single
    /// session that is in use, or waits itself for this operation; TEE_ERROR_TARGET_DEAD if it has panicked;
    /// TEE_ERROR_CANCEL; TEE_ERROR_OUT_OF_MEMORY if applications open each other without end.
    /// </returns>
    /// <exception cref="ArgumentOutOfRangeException">
    /// There are more than four parameters, or <paramref name="timeout"/> is none.
    /// </exception>
    /// <exception cref="InvalidOperationException">As <see cref="Wait(TimeSpan)"/>.</exception>
    /// <remarks>
    /// A cancellation of this operation reaches the other one if this one has not masked it; the other one masks it
    /// again until it unmasks it. Allocates some small objects.
    /// </remarks>
    public TeeResult OpenSessionWith(
        Guid application, Span<TeeParameter> parameters, TimeSpan timeout, out ClientSession? session)
    {
        ITeeSession? opened = null;
        TeeResult result =
            _operation.CallApplication(TeeOperation.OpenSession, application, ref opened, 0, parameters, timeout);
        session = opened is null ? null : Opened.Add(opened);
        return result;
    }

    /// <summary>Makes an operation the current one.</summary>
    /// <param name="request">The operation.</param>
    /// <param name="root">The guest's operation for which it is made, or itself.</param>
    /// <returns>
    /// <see langword="false"/>, with nothing begun, if a memory reference is longer than the applications'
    /// <see langword="int"/> sizes reach.
    /// </returns>
    internal bool TryBegin(TeeRequest request, TeeRequest root)
    {
        int kinds = 0;
        ReadOnlySpan<TeeParameter> parameters = request.Parameters;
        for (int index = 0; index < parameters.Length; index++)
        {
            ref readonly TeeParameter parameter = ref parameters[index];
            kinds |= Pack(parameter.Kind, index);
            if (parameter.IsMemory)
            {
                if (parameter.Capacity > int.MaxValue)
                {
                    return false;
                }
            }
            else if (parameter.Kind == TeeParameterKind.ValueOutput)
            {
                request.SetValue(index, 0, 0);
            }
        }

        _kinds = kinds;
        _operation.Begin(request, root);
        return true;
    }

    /// <summary>Ends the current operation, if there is one.</summary>
    internal void End()
    {
        _kinds = 0;
        _operation.End();
    }

    /// <summary>Closes the guest's files that the application has left open; before <see cref="End"/>.</summary>
    internal void CloseFiles()
    {
        if (HasOpenFiles)
        {
            _guest!.Files.CloseAll();
        }
    }

    // TEE_PARAM_TYPES: four bits per parameter.
    private static int Pack(TeeParameterKind kind, int index) => (int)kind << (4 * index);
}
