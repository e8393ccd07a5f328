using OpTeeMediator.Backends;

namespace OpTeeMediator.Remote.Client;

/// <summary>A session that is open at a server; with the connection it ends.</summary>
internal sealed class RemoteSession(OperationSender sender, ServerConnection connection, uint number) : ITeeSession
{
    /// <summary>The connection to its server.</summary>
    public ServerConnection Connection => connection;

    /// <summary>Its number there.</summary>
    public uint Number => number;

    public ValueTask<TeeResult> InvokeCommandAsync(TeeRequest request) =>
        new(sender.Invoke(connection, number, request));

    public ValueTask CloseAsync(TeeRequest request)
    {
        sender.Close(connection, number, request);
        return ValueTask.CompletedTask;
    }
}
