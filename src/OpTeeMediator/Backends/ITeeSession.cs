namespace OpTeeMediator.Backends;

/// <summary>A session with a trusted application.</summary>
/// <remarks>Commands are invoked only while the session is open; <see cref="CloseAsync"/> is called once, when no
/// command is running any more. Several commands may run at the same time, on several threads; a backend whose sessions
/// take one at a time makes the others wait.</remarks>
public interface ITeeSession
{
    /// <summary>Invokes <see cref="TeeRequest.CommandId"/> with the request's parameters.</summary>
    /// <param name="request">The operation; its outputs are set on return. Not to be kept.</param>
    /// <returns>The application's return code and its origin.</returns>
    /// <remarks>An exception becomes TEE_ERROR_COMMUNICATION, origin COMMS, and one log entry.</remarks>
    ValueTask<TeeResult> InvokeCommandAsync(TeeRequest request);

    /// <summary>Closes the session and frees what it holds. By default it holds nothing.</summary>
    /// <param name="request">The operation: without parameters, but with <see cref="TeeRequest.Guest"/>. When the
    /// mediator closes the session because the guest's driver or the VM is gone, calls to the guest return
    /// <see cref="TeeReturnCode.Communication"/>. Not to be kept.</param>
    /// <returns>A task that ends when that is done.</returns>
    ValueTask CloseAsync(TeeRequest request) => default;
}
