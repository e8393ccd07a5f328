using OpTeeMediator.Backends;

namespace OpTeeMediator.SoftwareTee.Applications;

/// <summary>
/// A session that an application has opened with another one, with <see cref="ApplicationCall.OpenSessionWith(Guid,
/// Span{TeeParameter}, out ClientSession?)"/>.
/// </summary>
/// <remarks>
/// It belongs to the caller's instance, which may use it in any of its sessions; at the instance's end, a panic
/// included, it is closed. If the other application has panicked, its commands return TEE_ERROR_TARGET_DEAD, and the
/// caller lives on. Thread-safe: commands wait for each other.
/// </remarks>
public sealed class ClientSession
{
    private readonly OpenedSessions _opened;
    private ITeeSession? _session;

    internal ClientSession(OpenedSessions opened, ITeeSession session)
    {
        _opened = opened;
        _session = session;
    }

    /// <inheritdoc cref="Invoke(ApplicationCall, uint, Span{TeeParameter}, TimeSpan)"/>
    public TeeResult Invoke(ApplicationCall call, uint command, Span<TeeParameter> parameters) =>
        Invoke(call, command, parameters, Timeout.InfiniteTimeSpan);

    /// <summary>Invokes a command of the other application (TEE_InvokeTACommand).</summary>
    /// <param name="call">The operation that the caller runs.</param>
    /// <param name="command">The command.</param>
    /// <param name="parameters">Up to four parameters; they receive the outputs.</param>
    /// <param name="timeout">After this time the command is cancelled, as the client would: 0 to 49 days.</param>
    /// <returns>
    /// The other application's answer, or that of the TEE: TEE_ERROR_BUSY, TEE_ERROR_TARGET_DEAD, TEE_ERROR_CANCEL,
    /// TEE_ERROR_OUT_OF_MEMORY as for opening.
    /// </returns>
    /// <exception cref="ArgumentNullException"><paramref name="call"/> is <see langword="null"/>.</exception>
    /// <exception cref="ArgumentOutOfRangeException">
    /// There are more than four parameters, or <paramref name="timeout"/> is none.
    /// </exception>
    /// <exception cref="InvalidOperationException">
    /// <paramref name="call"/> belongs to another instance, or cannot call.
    /// </exception>
    /// <exception cref="ObjectDisposedException">The session was closed.</exception>
    public TeeResult Invoke(ApplicationCall call, uint command, Span<TeeParameter> parameters, TimeSpan timeout)
    {
        ThrowIfForeign(call);
        ITeeSession? session = Volatile.Read(ref _session);
        ObjectDisposedException.ThrowIf(session is null, this);
        return call.Operation.CallApplication(
            TeeOperation.InvokeCommand, Guid.Empty, ref session, command, parameters, timeout);
    }

    /// <summary>Closes the session (TEE_CloseTASession). Again it has no effect.</summary>
    /// <param name="call">The operation that the caller runs.</param>
    /// <exception cref="ArgumentNullException"><paramref name="call"/> is <see langword="null"/>.</exception>
    /// <exception cref="InvalidOperationException">
    /// <paramref name="call"/> belongs to another instance, or cannot call.
    /// </exception>
    /// <remarks>
    /// If the other application waits itself for this operation, the session is closed when this operation has ended.
    /// </remarks>
    public void Close(ApplicationCall call)
    {
        ThrowIfForeign(call);
        if (_opened.TryRemove(this) && TryTake() is { } session)
        {
            ITeeSession? closed = session;
            _ = call.Operation.CallApplication(
                TeeOperation.CloseSession, Guid.Empty, ref closed, 0, [], Timeout.InfiniteTimeSpan);
        }
    }

    /// <summary>Takes the session, which is to be closed.</summary>
    internal ITeeSession? TryTake() => Interlocked.Exchange(ref _session, null);

    private void ThrowIfForeign(ApplicationCall call)
    {
        ArgumentNullException.ThrowIfNull(call);
        if (call.Opened != _opened)
        {
            throw new InvalidOperationException("The session belongs to another instance.");
        }
    }
}
