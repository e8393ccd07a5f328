using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net.Sockets;
using System.Text;

namespace OpTeeMediator.Machines.Agents;

/// <summary>A line to an agent, which runs commands on the host or in a guest. The protocol is described in
/// tests/machines/README.md.</summary>
/// <remarks>Thread-safe; commands run side by side.</remarks>
public sealed class AgentLine : IAsyncDisposable
{
    private const string Ready = "agent ready";

    private readonly Socket _socket;
    private readonly NetworkStream _stream;
    private readonly Func<string> _logs;
    private readonly SemaphoreSlim _sending = new(1);
    private readonly ConcurrentDictionary<string, RunningCommand> _commands = new();
    private readonly Task _reading;
    private TaskCompletionSource _announced = NewAnnouncement();
    private int _lastId;

    private AgentLine(string name, Socket socket, Func<string> logs)
    {
        Name = name;
        _socket = socket;
        _stream = new NetworkStream(socket, ownsSocket: true);
        _logs = logs;
        _reading = Task.Run(ReadAsync);
    }

    /// <summary>The line's name, for messages.</summary>
    public string Name { get; }

    /// <summary>Completes when the agent says next that it has started, or that it is there.</summary>
    public Task Announcement => Volatile.Read(ref _announced).Task;

    /// <summary>Connects to a line's socket.</summary>
    /// <param name="path">The socket; it may take a moment to appear.</param>
    /// <param name="machine">The process that makes it.</param>
    /// <param name="logs">Gives the ends of the logs, for messages.</param>
    /// <returns>The line, on which no agent may answer yet.</returns>
    public static async Task<AgentLine> ConnectAsync(string path, Process machine, Func<string> logs) =>
        new(Path.GetFileNameWithoutExtension(path), await LineSocket.ConnectAsync(path, machine, logs), logs);

    /// <summary>Waits for an announcement that was asked for before what leads to it was done.</summary>
    /// <param name="announcement">From <see cref="Announcement"/>.</param>
    /// <param name="timeout">How long at most on an idle computer.</param>
    /// <returns>A task that fails with the ends of the logs if none came in time.</returns>
    public async Task WaitForAsync(Task announcement, TimeSpan timeout)
    {
        timeout = Deadlines.Scale(timeout);
        try
        {
            await announcement.WaitAsync(timeout);
        }
        catch (TimeoutException exception)
        {
            throw new MachineFailedException(
                $"{Name}: no agent answered within {timeout.TotalSeconds:0} s\n{_logs()}", exception);
        }
    }

    /// <summary>Runs a shell script to its end.</summary>
    /// <param name="script">The script, for <c>sh</c>.</param>
    /// <param name="timeout">How long at most on an idle computer.</param>
    /// <returns>Its output and exit status, or a failure with the ends of the logs if it takes longer.</returns>
    public Task<CommandResult> RunAsync(string script, TimeSpan timeout) => RunAsync(script, timeout, _ => { });

    /// <summary>Runs a shell script to its end.</summary>
    /// <param name="script">The script, for <c>sh</c>.</param>
    /// <param name="timeout">How long at most on an idle computer.</param>
    /// <param name="observe">Gets each line of the output when it comes.</param>
    /// <returns>Its output and exit status, or a failure with the ends of the logs if it takes longer.</returns>
    public async Task<CommandResult> RunAsync(string script, TimeSpan timeout, Action<OutputLine> observe)
    {
        timeout = Deadlines.Scale(timeout);
        string id = $"m{Interlocked.Increment(ref _lastId)}.{Environment.ProcessId}";
        var command = new RunningCommand(observe);
        _commands[id] = command;
        try
        {
            await SendAsync($"run {id} {Convert.ToBase64String(Encoding.UTF8.GetBytes(script))}\n");
            return await command.Result.WaitAsync(timeout);
        }
        catch (TimeoutException exception)
        {
            string message =
                $"{Name}: not finished within {timeout.TotalSeconds:0} s: {script}\n{command.Tail()}\n{_logs()}";
            throw new MachineFailedException(message, exception);
        }
        catch (IOException exception)
        {
            throw new MachineFailedException(
                $"{Name}: the machine went away during: {script}\n{command.Tail()}\n{_logs()}", exception);
        }
        finally
        {
            _commands.TryRemove(id, out _);
        }
    }

    /// <summary>Starts a shell script and waits until it has said something.</summary>
    /// <param name="script">The script, for <c>sh</c>.</param>
    /// <param name="timeout">How long at most it may take, to its end, on an idle computer.</param>
    /// <param name="text">What a line of its output contains.</param>
    /// <returns>The script, which is still running, unless it has ended without saying it.</returns>
    public async Task<Task<CommandResult>> StartAsync(string script, TimeSpan timeout, string text)
    {
        TaskCompletionSource said = new(TaskCreationOptions.RunContinuationsAsynchronously);
        Task<CommandResult> command = RunAsync(script, timeout, line =>
        {
            if (line.Text.Contains(text, StringComparison.Ordinal))
            {
                said.TrySetResult();
            }
        });
        await Task.WhenAny(said.Task, command);
        return command;
    }

    /// <summary>Asks whether an agent is there; it answers with an announcement.</summary>
    /// <returns>A task that completes when the question is on its way.</returns>
    public Task AskAsync() => SendAsync("\n");

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _stream.DisposeAsync();
        _socket.Dispose();
        await _reading;
        _sending.Dispose();
    }

    private static TaskCompletionSource NewAnnouncement() => new(TaskCreationOptions.RunContinuationsAsynchronously);

    private async Task SendAsync(string text)
    {
        await _sending.WaitAsync();
        try
        {
            await _stream.WriteAsync(Encoding.UTF8.GetBytes(text));
        }
        finally
        {
            _sending.Release();
        }
    }

    private async Task ReadAsync()
    {
        using var reader = new StreamReader(_stream, Encoding.UTF8, false, 4096, leaveOpen: true);
        try
        {
            while (await reader.ReadLineAsync() is { } line)
            {
                Take(line.TrimEnd('\r'));
            }
        }
        catch (Exception exception) when (exception is IOException or ObjectDisposedException or FormatException)
        {
            Fail(exception);
            return;
        }

        Fail(null);
    }

    private void Take(string line)
    {
        if (line == Ready)
        {
            Interlocked.Exchange(ref _announced, NewAnnouncement()).TrySetResult();
            return;
        }

        // ID verb text; anything else is the kernel's.
        string[] words = line.Split(' ', 3);
        if (words.Length == 3 && _commands.TryGetValue(words[0], out RunningCommand? command))
        {
            command.Take(words[1], words[2]);
        }
    }

    private void Fail(Exception? reason)
    {
        var away = new IOException($"{Name}: the line has ended", reason);
        foreach (RunningCommand command in _commands.Values)
        {
            command.Fail(away);
        }
    }
}
