using System.Diagnostics;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Protocol;
using OpTeeMediator.Remote.Framing;

namespace OpTeeMediator.Remote.Client;

/// <summary>One VM's part of the TEE of a server; connected again when the server was gone.</summary>
/// <remarks>Operations block their prepared thread while the server works. Thread-safe.</remarks>
internal sealed class RemotePartition : ITeePartition
{
    // A guest that opens sessions while the server is gone does not have the VMM connect faster than that.
    private static readonly TimeSpan ReconnectInterval = TimeSpan.FromMilliseconds(100);

    private readonly ServerAddress _address;
    private readonly Hello _hello;
    private readonly ILogger _log;
    private readonly OperationSender _sender;
    private readonly LogRateLimit _failures = new();
    private readonly Lock _connecting = new();
    private volatile ServerConnection _connection;
    private long _lastAttempt;
    private bool _isDisposed;

    /// <summary>Connects to the server.</summary>
    /// <exception cref="TeeUnavailableException">It is not there, or refuses the VM.</exception>
    public RemotePartition(ServerAddress address, Hello hello, ILogger log)
    {
        _address = address;
        _hello = hello;
        _log = log;
        _sender = new OperationSender(hello.Name, CloseUnlessEnded, log);
        (FrameChannel channel, Welcome welcome) = address.Connect(hello);
        Devices = welcome.Devices;
        Revision = welcome.Revision;
        _connection = new ServerConnection(channel, welcome, hello.Name, log);
        log.PartitionCreated(hello.Name, address.Path, Devices?.Count ?? 0);
    }

    public IReadOnlyList<TeeDevice>? Devices { get; }

    public OpTeeRevision? Revision { get; }

    public ValueTask<TeeResult> OpenSessionAsync(TeeRequest request)
    {
        ArgumentNullException.ThrowIfNull(request);
        return new(TryConnect() is { } connection
            ? _sender.Open(connection, request)
            : TeeResult.CommunicationFailure);
    }

    public ValueTask<TeeReturnCode> RegisterMemoryAsync(TeeSharedMemory memory)
    {
        ArgumentNullException.ThrowIfNull(memory);
        RemoteBuffer buffer = memory.BackendState as RemoteBuffer ?? new RemoteBuffer();
        TeeReturnCode code = _sender.Register(_connection, memory, buffer);
        memory.BackendState = code == TeeReturnCode.Success ? buffer : null;
        return new(code);
    }

    public ValueTask UnregisterMemoryAsync(TeeSharedMemory memory)
    {
        ArgumentNullException.ThrowIfNull(memory);
        if (memory.BackendState is RemoteBuffer buffer)
        {
            _sender.Unregister(buffer);
            memory.BackendState = null;
        }

        return default;
    }

    public void Cancel(TeeRequest request)
    {
        ArgumentNullException.ThrowIfNull(request);
        ServerConnection connection = _connection;
        if (connection.Cancel(request) is { } operation && request.IsTerminationRequested)
        {
            CloseUnlessEnded(connection, operation);
        }
    }

    /// <remarks>A server that is gone has nothing left of the VM.</remarks>
    public async ValueTask ResetAsync()
    {
        if (_connection is { IsLost: false } connection)
        {
            await OperationSender.SendAsync(connection, FrameType.Reset);
        }
    }

    public async ValueTask DisposeAsync()
    {
        ServerConnection connection;
        lock (_connecting)
        {
            _isDisposed = true;
            connection = _connection;
        }

        if (!connection.IsLost)
        {
            connection.ExpectEnd();
            await OperationSender.SendAsync(connection, FrameType.Destroy);
        }

        connection.Close();
    }

    // By the VMM, which resets or destroys the VM: a guest cannot cause it.
    private void CloseUnlessEnded(ServerConnection connection, ClientOperation operation) =>
        _ = CloseUnlessEndedAsync(connection, operation, operation.Id);

    private async Task CloseUnlessEndedAsync(ServerConnection connection, ClientOperation operation, uint id)
    {
        await Task.Delay(_address.TerminationDeadline);
        if (operation.Id == id && operation.IsRunning && connection.TryAbandon())
        {
            _log.OperationDoesNotEnd(_hello.Name, _address.TerminationDeadline.TotalSeconds);
            connection.Close();
        }
    }

    /// <returns>The present connection, or a new one; <see langword="null"/> if the server is not there.</returns>
    private ServerConnection? TryConnect()
    {
        ServerConnection present = _connection;
        if (!present.IsLost)
        {
            return present;
        }

        lock (_connecting)
        {
            if (!_connection.IsLost)
            {
                return _connection;
            }

            if (_isDisposed || (_lastAttempt != 0 && Stopwatch.GetElapsedTime(_lastAttempt) < ReconnectInterval))
            {
                return null;
            }

            _lastAttempt = Stopwatch.GetTimestamp();
            try
            {
                (FrameChannel channel, Welcome welcome) = _address.Connect(_hello);
                _connection = new ServerConnection(channel, welcome, _hello.Name, _log);
                _log.Reconnected(_hello.Name);
                return _connection;
            }
            catch (TeeUnavailableException exception)
            {
                if (_failures.TryPass(out long suppressed))
                {
                    _log.ServerUnreachable(_hello.Name, exception.Message, suppressed);
                }

                return null;
            }
        }
    }
}
