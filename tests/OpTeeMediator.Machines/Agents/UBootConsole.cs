using System.Diagnostics;
using System.Net.Sockets;
using System.Text;

namespace OpTeeMediator.Machines.Agents;

/// <summary>The console of a U-Boot, which takes one command after the other.</summary>
/// <remarks>Not thread-safe.</remarks>
public sealed class UBootConsole : IDisposable
{
    private const string Prompt = "\n=> ";

    private static readonly TimeSpan Ends = TimeSpan.FromSeconds(30);

    private readonly NetworkStream _stream;
    private readonly Func<string> _logs;

    private UBootConsole(Socket socket, Func<string> logs)
    {
        _stream = new NetworkStream(socket, ownsSocket: true);
        _logs = logs;
    }

    /// <summary>What U-Boot printed before its first prompt.</summary>
    public string BootLog { get; private set; } = "";

    /// <summary>How long <see cref="WaitForPromptAsync"/> waited for it.</summary>
    public TimeSpan BootTime { get; private set; }

    /// <summary>Connects to a console's socket.</summary>
    /// <param name="path">The socket; it may take a moment to appear.</param>
    /// <param name="machine">The process that makes it.</param>
    /// <param name="logs">Gives the ends of the logs, for messages.</param>
    /// <returns>The console; U-Boot may not have started yet.</returns>
    public static async Task<UBootConsole> ConnectAsync(string path, Process machine, Func<string> logs) =>
        new(await LineSocket.ConnectAsync(path, machine, logs), logs);

    /// <summary>Waits for U-Boot's first prompt.</summary>
    /// <param name="timeout">How long at most.</param>
    /// <returns>A task that fails with the ends of the logs if it does not appear.</returns>
    public async Task WaitForPromptAsync(TimeSpan timeout)
    {
        long start = Stopwatch.GetTimestamp();
        BootLog = await ReadToPromptAsync("U-Boot's start", timeout);
        BootTime = Stopwatch.GetElapsedTime(start);
    }

    /// <summary>Runs a command to its end.</summary>
    /// <param name="command">One line.</param>
    /// <returns>What it printed, without the last end of line, or a failure with the ends of the logs if
    /// it takes too long.</returns>
    public async Task<string> RunAsync(string command)
    {
        await SendAsync(command);
        string output = await ReadToPromptAsync(command, Deadlines.Scale(Ends));
        int echo = output.IndexOf('\n', StringComparison.Ordinal);
        return echo < 0 ? "" : output[(echo + 1)..];
    }

    /// <summary>Types a command without waiting for a prompt.</summary>
    /// <param name="command">One line.</param>
    /// <returns>A task that completes when the command is on its way.</returns>
    public async Task SendAsync(string command) => await _stream.WriteAsync(Encoding.ASCII.GetBytes(command + "\r"));

    /// <inheritdoc/>
    public void Dispose() => _stream.Dispose();

    private async Task<string> ReadToPromptAsync(string what, TimeSpan timeout)
    {
        var text = new StringBuilder();
        byte[] bytes = new byte[1024];
        using var limit = new CancellationTokenSource(timeout);
        try
        {
            while (true)
            {
                int count = await _stream.ReadAsync(bytes, limit.Token);
                if (count == 0)
                {
                    throw new MachineFailedException($"U-Boot's console has ended during: {what}\n{text}\n{_logs()}");
                }

                text.Append(Encoding.ASCII.GetString(bytes, 0, count).Replace("\r", "", StringComparison.Ordinal));
                if (text.Length >= Prompt.Length && text.ToString(text.Length - Prompt.Length, Prompt.Length) == Prompt)
                {
                    return text.ToString(0, text.Length - Prompt.Length);
                }
            }
        }
        catch (OperationCanceledException exception)
        {
            throw new MachineFailedException(
                $"U-Boot printed no prompt within {timeout.TotalSeconds} s: {what}\n{text}\n{_logs()}", exception);
        }
    }
}
