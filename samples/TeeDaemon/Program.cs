using System.CommandLine;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Runtime.Versioning;
using KvmVmm.Logging;
using Microsoft.Extensions.Logging;
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
        // A worker process has the daemon's arguments, and two more.
        bool isWorker = TeeWorker.IsWorker(arguments);
        ParseResult line = DaemonCommandLine.Parse(isWorker ? arguments[..^2] : arguments);
        if (line.Errors.Count > 0)
        {
            return Complain(string.Join('\n', line.Errors.Select(error => error.Message)), WrongUsage);
        }

        // That of --help, for example.
        if (line.Action is not null)
        {
            return line.Invoke();
        }

        DaemonOptions options = DaemonCommandLine.OptionsOf(line);
        if (options.WrongCombination is { } wrong)
        {
            return Complain(wrong, WrongUsage);
        }

        try
        {
            using ILoggerFactory log = ErrorStreamLog.Create(options.LogLevel);
            ITeeBackend tee = DaemonTee.Create(
                options, opensStorage: isWorker || options.IsInProcess || !Environment.IsPrivilegedProcess);
            return isWorker ? TeeWorker.Run(arguments, tee, log) : await ServeAsync(tee, options, arguments, log);
        }
        catch (Exception failure) when (failure is TeeUnavailableException or TeeStoreException or IOException
            or UnauthorizedAccessException or SocketException)
        {
            return Complain(failure.Message, Failure);
        }
    }

    private static async Task<int> ServeAsync(
        ITeeBackend tee, DaemonOptions options, string[] arguments, ILoggerFactory log)
    {
        TaskCompletionSource stop = new(TaskCreationOptions.RunContinuationsAsynchronously);
        using PosixSignalRegistration interrupt = EndAt(PosixSignal.SIGINT, stop);
        using PosixSignalRegistration terminate = EndAt(PosixSignal.SIGTERM, stop);
        Socket? passed = ServiceManager.TakeSocket();
        if ((passed is null) == (options.SocketPath is null))
        {
            return Complain(
                passed is null
                    ? "--socket is missing, and no service manager has passed a socket"
                    : "--socket is not for a daemon whose service manager has passed a socket",
                WrongUsage);
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
        return Success;
    }

    private static PosixSignalRegistration EndAt(PosixSignal signal, TaskCompletionSource stop) =>
        PosixSignalRegistration.Create(signal, context =>
        {
            context.Cancel = true;
            _ = stop.TrySetResult();
        });

    private static int Complain(string message, int status)
    {
        string help = status == WrongUsage ? "\nteedaemon --help explains the options." : "";
        Console.Error.WriteLine($"teedaemon: {message}{help}");
        return status;
    }
}
