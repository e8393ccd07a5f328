using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using Microsoft.Extensions.Logging;
using OpTeeMediator.Remote.Framing;

namespace OpTeeMediator.Remote.Workers;

/// <summary>The process that serves one VM, as its server sees it.</summary>
/// <param name="client">The VM's connection; this object disposes of it.</param>
/// <param name="settings">What the process is told.</param>
/// <param name="command">How it is started.</param>
/// <param name="log">The log.</param>
internal sealed class WorkerProcess(Socket client, WorkerSettings settings, WorkerCommand command, ILogger log)
{
    /// <summary>The first argument of a worker process; the second is where its server waits.</summary>
    public const string Argument = "--tee-worker";

    private static readonly TimeSpan StartTimeout = TimeSpan.FromSeconds(60);

    // The process asks its operations to end for ten seconds.
    private static readonly TimeSpan EndTimeout = TimeSpan.FromSeconds(20);

    private readonly Lock _lock = new();
    private FrameChannel? _control;
    private Process? _process;
    private bool _isClosing;

    /// <summary>Starts the process, and returns when it has ended. Never throws.</summary>
    public void Run()
    {
        try
        {
            StartAndWait();
        }
        catch (Exception exception)
        {
            log.WorkerFailed(settings.Partition, command.FileName, exception);
        }
        finally
        {
            client.Dispose();
            lock (_lock)
            {
                _control?.Dispose();
                _control = null;
                _process?.Dispose();
                _process = null;
            }
        }
    }

    /// <summary>Has the process end: it ends its VM's operations, and is killed if that takes long.</summary>
    public void Close()
    {
        lock (_lock)
        {
            _isClosing = true;
            _control?.Close();
        }
    }

    private void StartAndWait()
    {
        // An abstract name, which needs no folder; who connects is checked by its process id.
        string name = $"optee-tee-{Guid.NewGuid():N}";
        using Socket listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint($"\0{name}"));
        listener.Listen(1);
        Process process = Process.Start(StartInfo(name))
            ?? throw new InvalidOperationException($"'{command.FileName}' was not started.");
        lock (_lock)
        {
            _process = process;
        }

        try
        {
            FrameChannel control = Accept(listener, process);
            FrameBuilder frame = new();
            settings.Write(frame);
            bool isSent = control.TrySend(frame.Frame, client.SafeHandle);
            client.Dispose();
            lock (_lock)
            {
                _control = control;
                if (_isClosing || !isSent)
                {
                    control.Close();
                }
            }

            WaitForEnd(process);
        }
        finally
        {
            if (!process.HasExited)
            {
                process.Kill();
                process.WaitForExit();
            }
        }

        if (process.ExitCode == 0)
        {
            log.WorkerEnded(settings.Partition);
        }
        else
        {
            log.WorkerDied(settings.Partition, process.ExitCode);
        }
    }

    private void WaitForEnd(Process process)
    {
        while (!process.WaitForExit(TimeSpan.FromSeconds(1)))
        {
            bool isClosing;
            lock (_lock)
            {
                isClosing = _isClosing;
            }

            if (isClosing && !process.WaitForExit(EndTimeout))
            {
                log.WorkerKilled(settings.Partition, EndTimeout.TotalSeconds);
                return;
            }
        }
    }

    private FrameChannel Accept(Socket listener, Process process)
    {
        long start = Stopwatch.GetTimestamp();
        while (Stopwatch.GetElapsedTime(start) < StartTimeout && !process.HasExited)
        {
            if (!listener.Poll(TimeSpan.FromMilliseconds(20), SelectMode.SelectRead))
            {
                continue;
            }

            Socket accepted = listener.Accept();
            if (SocketPeer.Of(accepted).ProcessId == process.Id)
            {
                return new FrameChannel(accepted, takesDescriptors: false, settings.SendTimeout);
            }

            accepted.Dispose();
        }

        throw new InvalidOperationException(process.HasExited
            ? $"The process has ended with code {process.ExitCode} before it served; its output says why. Its program "
                + "must call TeeWorker.Run when its first argument is TeeWorker's."
            : $"The process has not asked for its VM within {StartTimeout.TotalSeconds} s.");
    }

    private ProcessStartInfo StartInfo(string name)
    {
        ProcessStartInfo start = new(command.FileName);
        foreach (string argument in command.Arguments)
        {
            start.ArgumentList.Add(argument);
        }

        start.ArgumentList.Add(Argument);
        start.ArgumentList.Add(name);
        start.Environment["DOTNET_GCHeapHardLimit"] = command.HeapLimit.ToString("X", CultureInfo.InvariantCulture);

        // What was meant for the server alone.
        _ = start.Environment.Remove("LISTEN_FDS");
        _ = start.Environment.Remove("LISTEN_PID");
        _ = start.Environment.Remove("NOTIFY_SOCKET");
        if (command.UserName is { } user && Environment.IsPrivilegedProcess)
        {
            start.UserName = user;
        }

        return start;
    }
}
