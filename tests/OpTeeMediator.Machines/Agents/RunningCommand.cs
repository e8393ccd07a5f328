using System.Diagnostics;

namespace OpTeeMediator.Machines.Agents;

/// <summary>A command that an agent runs: collects what comes of it.</summary>
/// <param name="observe">Gets each line of the output.</param>
internal sealed class RunningCommand(Action<OutputLine> observe)
{
    private const int TailLength = 30;

    private readonly Stopwatch _watch = Stopwatch.StartNew();
    private readonly List<OutputLine> _lines = [];
    private readonly TaskCompletionSource<CommandResult> _result =
        new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Completes when the command has ended, or fails with the machine.</summary>
    public Task<CommandResult> Result => _result.Task;

    /// <summary>Takes what the agent says of this command.</summary>
    /// <param name="verb"><c>out</c>, <c>part</c> or <c>end</c>.</param>
    /// <param name="text">What follows.</param>
    /// <returns>Whether the command has ended.</returns>
    public bool Take(string verb, string text)
    {
        lock (_lines)
        {
            if (verb != "end")
            {
                var line = new OutputLine(_watch.Elapsed, text);
                _lines.Add(line);
                observe(line);
                return false;
            }

            int status = int.TryParse(text, out int number) ? number
                : throw new FormatException($"expected an exit status, found '{text}'");
            return _result.TrySetResult(new CommandResult(status, [.. _lines], _watch.Elapsed));
        }
    }

    public void Fail(Exception reason) => _result.TrySetException(reason);

    /// <summary>The last lines so far.</summary>
    public string Tail()
    {
        lock (_lines)
        {
            return string.Join('\n', _lines.TakeLast(TailLength).Select(line => line.Text));
        }
    }
}
