using System.Net.Sockets;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Remote.Framing;
using OpTeeMediator.Remote.Server;
using OpTeeMediator.Remote.Workers;

namespace OpTeeMediator.Remote;

/// <summary>Serves any TEE to several VMMs over a Unix socket; <see cref="RemoteTeeBackend"/> is the client.</summary>
/// <remarks>
/// <para>Each connection is one VM, with a partition of the TEE of its own. A VMM that sends what the protocol does not
/// permit (docs/remote-protocol.md) loses its connection; others do not notice. VMs share this process,
/// and applications that exhaust it harm all, unless <see cref="TeeServerOptions.Workers"/> gives each one its
/// own.</para>
/// <para>Thread-safe.</para>
/// </remarks>
public sealed class TeeServer : IAsyncDisposable
{
    private const int Backlog = 16;

    private readonly ITeeBackend _backend;
    private readonly TeeServerOptions _options;
    private readonly Socket _listener;
    private readonly ILogger _log;
    private readonly LogRateLimit _refusals = new();
    private readonly HashSet<uint> _users;
    private readonly CancellationTokenSource _stopping = new();
    private readonly Dictionary<uint, (Action Close, Thread Thread)> _connections = [];
    private readonly Lock _lock = new();
    private readonly Task _accepting;
    private uint _nextPartition = 1;
    private int _isDisposed;

    private TeeServer(ITeeBackend backend, TeeServerOptions options)
    {
        _backend = backend;
        _options = options;
        _log = NonThrowingLogger.Create<TeeServer>(options.LoggerFactory);
        _users = [.. options.AllowedUsers ?? [LibC.GetEffectiveUserId()]];
        _listener = options.ListeningSocket ?? Listen(options.SocketPath!, _users);

        // A socket that was passed has no such flag; worker processes must not have it.
        _ = LibC.Control(_listener.SafeHandle, LibC.F_SETFD, LibC.FD_CLOEXEC);
        _log.ServerStarted(options.SocketPath ?? "the socket that was passed", _users.Count);
        _accepting = AcceptAsync();
    }

    private TeeAccess Access => _options.Access ?? _backend.DefaultAccess;

    private ProtocolLimits Limits
    {
        get
        {
            // Four parameters, each of as many pieces as there may be; or the numbers of all sessions.
            const int FramePiece = 4 * FrameFormat.RangeSize;
            const int RestOfFrame = 4096;
            int pieces = _options.MaximumPieces;
            return new ProtocolLimits(
                _options.MaximumCalls,
                _options.MaximumSessions,
                _options.MaximumBuffers,
                pieces,
                Math.Max(pieces * FramePiece, _options.MaximumSessions * sizeof(uint)) + RestOfFrame);
        }
    }

    /// <summary>How many VMs are connected.</summary>
    public int VirtualMachines
    {
        get
        {
            lock (_lock)
            {
                return _connections.Count;
            }
        }
    }

    /// <summary>Starts a server.</summary>
    /// <param name="backend">The TEE; it must outlive the server.</param>
    /// <param name="options">How it serves.</param>
    /// <returns>The server, which listens.</returns>
    /// <exception cref="ArgumentNullException">An argument is <see langword="null"/>.</exception>
    /// <exception cref="ArgumentException">An option is wrong; the message names it.</exception>
    /// <exception cref="TeeUnavailableException">
    /// The socket cannot be made, or another server listens there; the message says what to do.
    /// </exception>
    public static TeeServer Start(ITeeBackend backend, TeeServerOptions options)
    {
        ArgumentNullException.ThrowIfNull(backend);
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        return new TeeServer(backend, options);
    }

    /// <summary>Ends the server and its connections.</summary>
    /// <returns>
    /// A task that ends when no VM is served any more: operations are asked to end, and waited for however long that
    /// takes.
    /// </returns>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _isDisposed, 1) != 0)
        {
            return;
        }

        await _stopping.CancelAsync();
        await _accepting;
        _listener.Dispose();
        if (_options.SocketPath is { } path)
        {
            File.Delete(path);
        }

        (Action Close, Thread Thread)[] connections;
        lock (_lock)
        {
            connections = [.. _connections.Values];
        }

        foreach ((Action close, _) in connections)
        {
            close();
        }

        foreach ((_, Thread thread) in connections)
        {
            await Task.Run(thread.Join);
        }

        _stopping.Dispose();
    }

    private static Socket Listen(string path, HashSet<uint> users)
    {
        Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            UnixDomainSocketEndPoint endPoint = new(path);
            if (File.Exists(path) && !IsServed(endPoint))
            {
                File.Delete(path);
            }

            socket.Bind(endPoint);

            // Who may do more than connect is said by the credentials of each connection.
            const UnixFileMode Own = UnixFileMode.UserRead | UnixFileMode.UserWrite;
            const UnixFileMode Others = Own | UnixFileMode.GroupRead | UnixFileMode.GroupWrite
                | UnixFileMode.OtherRead | UnixFileMode.OtherWrite;
            bool isForOthers = users.Any(user => user != LibC.GetEffectiveUserId());
            if (!OperatingSystem.IsWindows())
            {
                File.SetUnixFileMode(path, isForOthers ? Others : Own);
            }

            socket.Listen(Backlog);
            return socket;
        }
        catch (Exception exception) when (
            exception is SocketException or IOException or UnauthorizedAccessException)
        {
            socket.Dispose();
            throw new TeeUnavailableException(
                $"The TEE server cannot listen at {path} ({exception.Message}). Its folder must exist and be writable, "
                + "and no other server may listen there.", exception);
        }
    }

    private static bool IsServed(UnixDomainSocketEndPoint endPoint)
    {
        using Socket probe = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            probe.Connect(endPoint);
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    private async Task AcceptAsync()
    {
        while (!_stopping.IsCancellationRequested)
        {
            Socket socket;
            try
            {
                socket = await _listener.AcceptAsync(_stopping.Token);
            }
            catch (OperationCanceledException)
            {
                return;
            }
            catch (SocketException exception)
            {
                // No descriptors left, for example: those who connect wait.
                if (_refusals.TryPass(out long suppressed))
                {
                    _log.AcceptFailed(exception.Message, suppressed);
                }

                await Task.Delay(TimeSpan.FromMilliseconds(100), CancellationToken.None);
                continue;
            }

            try
            {
                Begin(socket);
            }
            catch (Exception exception)
            {
                // No thread left, for example: this VM is not served, the server goes on.
                _log.AcceptFailed(exception.Message, 0);
                socket.Dispose();
            }
        }
    }

    private void Begin(Socket socket)
    {
        if (Refusal(socket) is { } refusal)
        {
            if (_refusals.TryPass(out long suppressed))
            {
                _log.ConnectionRefused(refusal, suppressed);
            }

            socket.Dispose();
            return;
        }

        lock (_lock)
        {
            while (_nextPartition == 0 || _connections.ContainsKey(_nextPartition))
            {
                _nextPartition++;
            }

            uint partition = _nextPartition++;
            (Action run, Action close) = _options.Workers is { } workers
                ? InWorker(socket, workers, partition)
                : InProcess(socket, partition);
            Thread thread = new(() => Run(run, partition)) { IsBackground = true, Name = $"tee VM {partition}" };
            thread.Start();
            _connections.Add(partition, (close, thread));
        }
    }

    private (Action Run, Action Close) InProcess(Socket socket, uint partition)
    {
        FrameChannel channel = new(socket, takesDescriptors: true, _options.SendTimeout)
        {
            ReceiveTimeout = _options.HandshakeTimeout,
        };
        HostedVirtualMachine virtualMachine = new(channel, new HostingSettings(
            _backend,
            partition,
            Access,
            _options.MaximumCalls,
            Limits,
            PermitsHugePages: false,
            Timeout.InfiniteTimeSpan,
            _options.MaximumState,
            _options.LoggerFactory,
            _log));
        return (() => _ = virtualMachine.Run(), channel.Close);
    }

    private (Action Run, Action Close) InWorker(Socket socket, TeeWorkerOptions workers, uint partition)
    {
        WorkerSettings settings = new(
            partition,
            _options.MaximumCalls,
            Limits,
            workers.MaximumFiles,
            workers.RequiresSystemCallFilter,
            workers.MayStartPrograms,
            _options.MaximumState,
            _options.HandshakeTimeout,
            _options.SendTimeout,
            Access.Applications);
        WorkerProcess process = new(
            socket,
            settings,
            new WorkerCommand(workers.FileName, workers.Arguments, workers.HeapLimit, workers.UserName),
            _log);
        return (process.Run, process.Close);
    }

    private string? Refusal(Socket socket)
    {
        PeerCredentials peer;
        try
        {
            peer = SocketPeer.Of(socket);
        }
        catch (SocketException exception)
        {
            return $"of a process that is not known ({exception.Message})";
        }

        if (!_users.Contains(peer.UserId))
        {
            return $"of process {peer.ProcessId} of user {peer.UserId}, which AllowedUsers does not name";
        }

        return VirtualMachines >= _options.MaximumVirtualMachines
            ? $"of process {peer.ProcessId}: {_options.MaximumVirtualMachines} VMs are connected, the most"
            : null;
    }

    private void Run(Action run, uint partition)
    {
        run();
        lock (_lock)
        {
            _ = _connections.Remove(partition);
        }
    }
}
