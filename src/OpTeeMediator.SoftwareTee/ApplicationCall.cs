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
    private TeeRequest? _request;
    private int _kinds;
    private bool _hasToken;

    internal ApplicationCall(ClientIdentity client, RunningCancellations cancellations)
    {
        Client = client;
        _cancellations = cancellations;
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

    /// <summary>The operation while an entry point runs.</summary>
    internal TeeRequest? Request => _request;

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
    }

    // TEE_PARAM_TYPES: four bits per parameter.
    private static int Pack(TeeParameterKind kind, int index) => (int)kind << (4 * index);
}
