using OpTeeMediator.Backends;
using OpTeeMediator.Software.Hosting;

namespace OpTeeMediator.Software;

/// <summary>What an entry point of a trusted application is called for: a session, and the client's operation in it.</summary>
/// <remarks>
/// There is one object per session. The session's part (<see cref="Client"/>, <see cref="SessionContext"/>) lasts as long as the session, the operation's
/// part as long as the entry point. Not thread-safe, and it need not be: a session runs one entry point at a time.
/// </remarks>
public sealed class ApplicationCall
{
    private readonly ApplicationParameter[] _parameters;
    private readonly RunningCancellations _cancellations;
    private readonly GateQueue _queue;
    private readonly TeeExecution _execution;
    private ApplicationGuest? _guest;
    private TeeRequest? _request;
    private int _kinds;
    private bool _hasToken;

    internal ApplicationCall(ClientIdentity client, TeeExecution execution, SoftwarePartition partition)
    {
        Client = client;
        _execution = execution;
        _cancellations = partition.Cancellations;
        _queue = partition.Queue;
        _parameters = new ApplicationParameter[TeeRequest.ParameterCount];
        for (int index = 0; index < _parameters.Length; index++)
        {
            _parameters[index] = new ApplicationParameter(this, index);
        }
    }

    /// <summary>Who has opened the session. It is the guest's claim: its kernel has computed it, and nobody outside the guest vouches for it.</summary>
    public ClientIdentity Client { get; }

    /// <summary>What the application keeps for the session (GlobalPlatform's session context); the tee does not look at it.</summary>
    public object? SessionContext { get; set; }

    /// <summary>The command; 0 while a session is opened or closed.</summary>
    public uint CommandId => _request?.CommandId ?? 0;

    /// <summary>
    /// Whether the client or the VMM wants the operation to end early. An application that can do so returns TEE_ERROR_CANCEL.
    /// </summary>
    /// <remarks>
    /// GlobalPlatform's cancellation mask has no counterpart: an application that does not look is not cancelled, as if masked, and looking is the consent that
    /// TEE_UnmaskCancellation gives.
    /// </remarks>
    public bool IsCancellationRequested => _request?.IsCancellationRequested ?? false;

    /// <summary>The same for waiting: a token for this operation. It costs an allocation if it is used, and nothing if not.</summary>
    /// <remarks>Its callbacks run on the thread pool. Outside of an operation it is <see cref="CancellationToken.None"/>.</remarks>
    public CancellationToken CancellationToken
    {
        get
        {
            if (_request is not { } request)
            {
                return CancellationToken.None;
            }

            _hasToken = true;
            return _cancellations.TokenOf(request);
        }
    }

    /// <summary>
    /// What can be asked of the guest while an entry point runs. When a session is closed because its guest's driver or the VM is gone, every call returns
    /// <see cref="TeeReturnCode.Communication"/>.
    /// </summary>
    public ApplicationGuest Guest => _guest ??= new ApplicationGuest(this);

    /// <summary>The operation while an entry point runs.</summary>
    internal TeeRequest? Request => _request;

    /// <summary>Counts operations.</summary>
    internal int Operation { get; private set; }

    /// <summary>Whether the application has left files of the guest open.</summary>
    internal bool HasOpenFiles => _guest is { Files.HasOpen: true };

    /// <summary>What the operation can ask of the guest by blocking.</summary>
    /// <exception cref="InvalidOperationException">No operation runs, or it runs inline.</exception>
    internal GuestServices GuestServices
    {
        get
        {
            ThrowIfInline();
            return _request?.Guest ?? throw new InvalidOperationException("The guest can be asked only while an entry point of the session runs.");
        }
    }

    /// <summary>One of the four parameters.</summary>
    /// <param name="index">0 to 3.</param>
    /// <exception cref="IndexOutOfRangeException"><paramref name="index"/> is none of these.</exception>
    public ApplicationParameter this[int index] => _parameters[index];

    /// <summary>Whether the client has sent parameters of these kinds (what TEE_PARAM_TYPES is compared for).</summary>
    /// <param name="kinds">Up to four kinds, beginning with parameter 0; the remaining parameters must be <see cref="TeeParameterKind.None"/>.</param>
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

    /// <summary>Waits without computing (TEE_Wait). The guest's thread sleeps meanwhile, where it takes notifications; nothing is allocated.</summary>
    /// <param name="time">How long, 0 or more; <see cref="Timeout.InfiniteTimeSpan"/> waits for the cancellation alone.</param>
    /// <returns>
    /// Success when the time is over; TEE_ERROR_CANCEL as soon as the client or the VMM wants the operation to end early. The closing of a session is not cancelled.
    /// </returns>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="time"/> is negative.</exception>
    /// <exception cref="InvalidOperationException">The application runs inline.</exception>
    /// <remarks>An asynchronous entry point may await a delay with <see cref="CancellationToken"/> instead.</remarks>
    public TeeReturnCode Wait(TimeSpan time)
    {
        if (time != Timeout.InfiniteTimeSpan)
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(time, TimeSpan.Zero);
        }

        ThrowIfInline();
        return _queue.Sleep(time, _request) ? TeeReturnCode.Success : TeeReturnCode.Cancel;
    }

    /// <summary>Makes an operation the current one.</summary>
    /// <param name="request">The operation.</param>
    /// <returns><see langword="false"/>, with nothing begun, if a memory reference is longer than the applications' <see langword="int"/> sizes reach.</returns>
    internal bool TryBegin(TeeRequest request)
    {
        int kinds = 0;
        Span<TeeParameter> parameters = request.Parameters;
        for (int index = 0; index < parameters.Length; index++)
        {
            ref TeeParameter parameter = ref parameters[index];
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
                parameter.A = 0;
                parameter.B = 0;
            }
        }

        _kinds = kinds;
        _request = request;
        return true;
    }

    /// <summary>Ends the current operation, if there is one.</summary>
    internal void End()
    {
        if (_hasToken)
        {
            _hasToken = false;
            _cancellations.Remove(_request!);
        }

        _kinds = 0;
        _request = null;
        Operation++;
    }

    /// <summary>Closes the guest's files that the application has left open; while the operation is still the current one.</summary>
    internal void CloseFiles()
    {
        if (HasOpenFiles)
        {
            _guest!.Files.CloseAll();
        }
    }

    private void ThrowIfInline()
    {
        if (_execution == TeeExecution.Inline)
        {
            throw new InvalidOperationException($"An inline application may not wait, for its guest or for time; declare {nameof(TrustedApplicationManifest.Execution)} = {nameof(TeeExecution.Worker)}.");
        }
    }

    // TEE_PARAM_TYPES: four bits per parameter.
    private static int Pack(TeeParameterKind kind, int index) => (int)kind << (4 * index);
}
