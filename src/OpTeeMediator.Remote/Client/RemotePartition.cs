using System.Diagnostics;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Protocol;
using OpTeeMediator.Remote.Framing;
using OpTeeMediator.State;

namespace OpTeeMediator.Remote.Client;

/// <summary>One VM's part of the TEE of a server; connected again when the server was gone.</summary>
/// <remarks>
/// <para>Operations block their prepared thread while the server works. Thread-safe.</para>
/// <para>What is saved: a mark (4 bytes); of each session its place among those that the server has saved, or that it
/// is dead (4 bytes); whether the server has saved anything (1 byte), and then what, as a block.</para>
/// </remarks>
internal sealed class RemotePartition : ISavableTeePartition
{
    private const uint DeadPlace = uint.MaxValue;

    // A guest that opens sessions while the server is gone does not have the VMM connect faster than that.
    private static readonly TimeSpan ReconnectInterval = TimeSpan.FromMilliseconds(100);

    private readonly ServerAddress _address;
    private readonly Hello _hello;
    private readonly ILogger _log;
    private readonly OperationSender _sender;
    private readonly LogRateLimit _failures = new();
    private readonly Lock _connecting = new();
    private volatile ServerConnection _connection;

    // To the server that has restored the VM, or saved it last.
    private ServerConnection? _moving;
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

    /// <remarks>Sessions of a server that is gone are saved as what they are.</remarks>
    /// <exception cref="OpTeeStateException">The server does not say; the message says why.</exception>
    public bool CanSave(ITeeSession session)
    {
        ArgumentNullException.ThrowIfNull(session);
        RemoteSession remote = (RemoteSession)session;
        ServerConnection connection = remote.Connection;
        return connection.IsLost || (connection.CanSave && BeginTransfer(connection).CanSave(remote.Number));
    }

    public async ValueTask<ReadOnlyMemory<byte>> SaveAsync(IReadOnlyList<ITeeSession> sessions)
    {
        ArgumentNullException.ThrowIfNull(sessions);
        ServerConnection connection = _connection;
        List<uint> saved = [];
        StateWriter writer = new();
        writer.WriteUInt32(SavedTee.Server);
        foreach (ITeeSession session in sessions)
        {
            RemoteSession remote = (RemoteSession)session;
            bool isDead = remote.Connection != connection || connection.IsLost;
            writer.WriteUInt32(isDead ? DeadPlace : (uint)saved.Count);
            if (!isDead)
            {
                saved.Add(remote.Number);
            }
        }

        // Applications may keep something without a session.
        bool isAtServer = connection is { IsLost: false, CanSave: true };
        writer.WriteBoolean(isAtServer);
        if (isAtServer)
        {
            _moving = connection;
            writer.WriteBlock(await Task.Run(() => BeginTransfer(connection).Save(saved)));
        }
        else if (saved.Count > 0)
        {
            throw new OpTeeStateException($"The TEE server at {_address.Path} has ended meanwhile.");
        }

        return writer.Written.ToArray();
    }

    public async ValueTask<IReadOnlyList<ITeeSession?>> RestoreAsync(ReadOnlyMemory<byte> state, int sessions)
    {
        StateReader reader = new(state);
        SavedTee.Check(reader, SavedTee.Server);
        uint[] places = new uint[sessions];
        int saved = 0;
        foreach (ref uint place in places.AsSpan())
        {
            place = reader.ReadUInt32();
            if (place != DeadPlace && place != (uint)saved++)
            {
                throw StateReader.Malformed("a session has another's place");
            }
        }

        uint[] numbers = [];
        ServerConnection connection = _connection;
        if (reader.ReadBoolean())
        {
            ReadOnlyMemory<byte> block = reader.ReadBlock();
            if (!connection.CanSave)
            {
                throw new OpTeeStateException(
                    $"The TEE server at {_address.Path} cannot take over the VM's sessions: it is of an older version, "
                    + "or its TEE cannot.");
            }

            _moving = connection;
            numbers = await Task.Run(() => BeginTransfer(connection).Restore(block, saved));
        }

        reader.End();
        if (numbers.Length != saved)
        {
            throw StateReader.Malformed("its sessions are not at the server");
        }

        return Array.ConvertAll(places, place => place == DeadPlace || numbers[place] == 0
            ? null : (ITeeSession?)new RemoteSession(_sender, connection, numbers[place]));
    }

    public void Commit() => _moving?.TellOutcome(FrameType.Commit);

    /// <remarks>A server whose connection ends before one of the two has abandoned the VM by itself.</remarks>
    public void Abandon() => _moving?.TellOutcome(FrameType.Abandon);

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

    private ServerStateTransfer BeginTransfer(ServerConnection connection) =>
        new(_address, connection, _hello.Name, _log);

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
