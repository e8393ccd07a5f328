using System.Net.Sockets;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;
using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Remote.Framing;
using OpTeeMediator.Remote.Server;
using OpTeeMediator.Remote.Workers;

namespace OpTeeMediator.Remote;

/// <summary>The process of one VM of a <see cref="TeeServer"/> with <see cref="TeeServerOptions.Workers"/>.</summary>
/// <remarks>Thread-safe; a process serves one VM, once.</remarks>
public static class TeeWorker
{
    // Operations that have not ended by then end with the process.
    private static readonly TimeSpan OperationsDeadline = TimeSpan.FromSeconds(10);

    /// <summary>Whether a server has started this process to serve a VM.</summary>
    /// <param name="arguments">The arguments of the program's entry point.</param>
    /// <returns>Whether the program is to call <see cref="Run"/> and to return what that returns.</returns>
    /// <exception cref="ArgumentNullException"><paramref name="arguments"/> is <see langword="null"/>.</exception>
    public static bool IsWorker(IReadOnlyList<string> arguments)
    {
        ArgumentNullException.ThrowIfNull(arguments);
        return arguments.Count >= 2 && arguments[^2] == WorkerProcess.Argument;
    }

    /// <summary>Serves the VM of this process until its connection or its server has ended.</summary>
    /// <param name="arguments">The arguments of the program's entry point.</param>
    /// <param name="backend">The TEE, as for <see cref="TeeServer.Start"/>.</param>
    /// <param name="loggerFactory">Where this process logs.</param>
    /// <returns>The exit code of the process, which is to end now: 0 if the VM's operations have all ended.</returns>
    /// <exception cref="ArgumentNullException">An argument is <see langword="null"/>.</exception>
    /// <exception cref="ArgumentException">The process is no worker.</exception>
    /// <exception cref="TeeUnavailableException">
    /// The server is gone, is of another version, or requires a filter of system calls that the host does not have.
    /// </exception>
    /// <remarks>
    /// Before anything of the VM is read, the process gives up new privileges (no_new_privs), core dumps and access by
    /// other processes of its user (PR_SET_DUMPABLE), takes the server's limit of files, and filters its system calls.
    /// </remarks>
    public static int Run(IReadOnlyList<string> arguments, ITeeBackend backend, ILoggerFactory loggerFactory)
    {
        ArgumentNullException.ThrowIfNull(backend);
        ArgumentNullException.ThrowIfNull(loggerFactory);
        if (!IsWorker(arguments))
        {
            throw new ArgumentException("No TeeServer has started this process.", nameof(arguments));
        }

        Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Connect(new UnixDomainSocketEndPoint($"\0{arguments[^1]}"));
        FrameChannel control = new(socket, takesDescriptors: true, OperationsDeadline);
        if (!control.TryReceive(out _, out ReadOnlySpan<byte> body))
        {
            throw new TeeUnavailableException("The TEE server of this process is gone.");
        }

        WorkerSettings settings = WorkerSettings.Read(new FrameReader(body));
        ILogger log = NonThrowingLogger.Create(loggerFactory, typeof(TeeWorker).FullName!);
        ProcessRestrictions.Apply(settings, log);
        return Serve(control, SocketOf(control.TakeDescriptor()), settings, backend, loggerFactory, log);
    }

    private static Socket SocketOf(SafeFileHandle descriptor)
    {
        SafeSocketHandle handle = new(descriptor.DangerousGetHandle(), ownsHandle: true);
        descriptor.SetHandleAsInvalid();
        return new Socket(handle);
    }

    private static int Serve(
        FrameChannel control,
        Socket client,
        WorkerSettings settings,
        ITeeBackend backend,
        ILoggerFactory loggerFactory,
        ILogger log)
    {
        FrameChannel channel = new(client, takesDescriptors: true, settings.SendTimeout)
        {
            ReceiveTimeout = settings.HandshakeTimeout,
        };
        HostedVirtualMachine virtualMachine = new(channel, new HostingSettings(
            backend,
            settings.Partition,
            settings.Applications is null ? TeeAccess.All : TeeAccess.Only(settings.Applications),
            settings.MaximumCalls,
            settings.Limits,
            PermitsHugePages: true,
            OperationsDeadline,
            settings.MaximumState,
            loggerFactory,
            log));
        new Thread(() => FollowServer(control, channel)) { IsBackground = true, Name = "tee server" }.Start();
        return virtualMachine.Run() ? 0 : 1;
    }

    // The server says nothing more: its end, or its wish, ends the VM's connection.
    private static void FollowServer(FrameChannel control, FrameChannel channel)
    {
        try
        {
            while (control.TryReceive(out _, out _))
            {
            }
        }
        catch (ProtocolException)
        {
            // As its end.
        }

        channel.Close();
    }
}
