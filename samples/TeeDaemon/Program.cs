using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Runtime.Versioning;
using KvmVmm.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Remote;
using OpTeeMediator.SoftwareTee.Storage;
using TeeDaemon.CommandLine;
using TeeDaemon.Systemd;

namespace TeeDaemon;

/// <summary>A TEE for the VMs of a machine: applications in C#, each VM in a process of its own.</summary>
[SupportedOSPlatform("linux")]
internal static class Program
{
    private const int Success = 0;
    private const int Failure = 1;
    private const int WrongUsage = 2;

    private static async Task<int> Main(string[] arguments)
    {
        if (arguments is ["--help" or "-h"])
        {
            Console.WriteLine(DaemonOptions.Usage);
            return Success;
        }

        try
        {
            // A worker process has the daemon's arguments, and two more.
            bool isWorker = TeeWorker.IsWorker(arguments);
            DaemonOptions options = DaemonOptions.Parse(isWorker ? arguments.AsSpan()[..^2] : arguments);
            using ErrorStreamLoggerFactory log = new(options.LogLevel);
            ITeeBackend tee = DaemonTee.Create(
                options, opensStorage: isWorker || options.IsInProcess || !Environment.IsPrivilegedProcess);
            if (isWorker)
            {
                return TeeWorker.Run(arguments, tee, log);
            }

            await ServeAsync(tee, options, arguments, log);
            return Success;
        }
        catch (UsageException wrong)
        {
            return Complain($"{wrong.Message}\n{DaemonOptions.Usage}", WrongUsage);
        }
        catch (Exception failure) when (failure is TeeUnavailableException or TeeStoreException or IOException
            or UnauthorizedAccessException or SocketException)
        {
            return Complain(failure.Message, Failure);
        }
    }

    private static async Task ServeAsync(
        ITeeBackend tee, DaemonOptions options, string[] arguments, ErrorStreamLoggerFactory log)
    {
        TaskCompletionSource stop = new(TaskCreationOptions.RunContinuationsAsynchronously);
        using PosixSignalRegistration interrupt = EndAt(PosixSignal.SIGINT, stop);
        using PosixSignalRegistration terminate = EndAt(PosixSignal.SIGTERM, stop);
        Socket? passed = ServiceManager.TakeSocket();
        if ((passed is null) == (options.SocketPath is null))
        {
            throw new UsageException(passed is null
                ? "--socket is missing, and no service manager has passed a socket"
                : "--socket is not for a daemon whose service manager has passed a socket");
        }

        await using TeeServer server = TeeServer.Start(tee, new TeeServerOptions
        {
            SocketPath = options.SocketPath,
            ListeningSocket = passed,
            AllowedUsers = options.AllowedUsers,
            Workers = options.IsInProcess
                ? null
                : new TeeWorkerOptions
                {
                    Arguments = arguments,
                    HeapLimit = (long)options.HeapMebibytes << 20,
                    UserName = options.WorkerUser,
                    MayStartPrograms = options.Tpm is not null,
                },
            LoggerFactory = log,
        });
        ServiceManager.NotifyReady();
        await stop.Task;
    }

    private static PosixSignalRegistration EndAt(PosixSignal signal, TaskCompletionSource stop) =>
        PosixSignalRegistration.Create(signal, context =>
        {
            context.Cancel = true;
            _ = stop.TrySetResult();
        });

    private static int Complain(string message, int status)
    {
        Console.Error.WriteLine($"teedaemon: {message}");
        return status;
    }
}
