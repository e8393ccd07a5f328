using System.Text.RegularExpressions;
using OpTeeMediator.Machines.Agents;

namespace OpTeeMediator.Machines.Xtest;

/// <summary>A run of xtest's regression suite, read from its output.</summary>
public sealed partial class XtestRun
{
    private const int TailLength = 20;
    private const string Finished = "TEE test application done!";

    private XtestRun(IReadOnlyList<XtestCase> cases, string? interruption)
    {
        Cases = cases;
        Interruption = interruption;
    }

    /// <summary>The cases, in the order in which they ran.</summary>
    public IReadOnlyList<XtestCase> Cases { get; }

    /// <summary>Why the run did not come to its end; <see langword="null"/> if it did.</summary>
    public string? Interruption { get; }

    /// <summary>The numbers of the cases that did not pass.</summary>
    public IEnumerable<string> Failures => Cases.Where(one => one.Outcome != XtestOutcome.Passed).Select(one => one.Id);

    /// <summary>Runs cases.</summary>
    /// <param name="line">Where.</param>
    /// <param name="timeout">How long all of them may take.</param>
    /// <param name="cases">Their numbers, all of the suite if none; a number means all cases
    /// whose name contains it.</param>
    /// <returns>What came of it; what came until then, if it does not end in time.</returns>
    public static Task<XtestRun> RunAsync(AgentLine line, TimeSpan timeout, params string[] cases) =>
        RunAsync(line, timeout, _ => { }, cases);

    /// <summary>Runs cases.</summary>
    /// <param name="line">Where.</param>
    /// <param name="timeout">How long all of them may take.</param>
    /// <param name="observe">Gets each line of the output when it comes.</param>
    /// <param name="cases">Their numbers, all of the suite if none; a number means all cases
    /// whose name contains it.</param>
    /// <returns>What came of it; what came until then, if it does not end in time.</returns>
    public static async Task<XtestRun> RunAsync(
        AgentLine line, TimeSpan timeout, Action<OutputLine> observe, params string[] cases)
    {
        var output = new List<OutputLine>();
        try
        {
            await line.RunAsync($"xtest -t regression {string.Join(' ', cases)}", timeout, Take);
            return Read(output, null);
        }
        catch (MachineFailedException exception)
        {
            lock (output)
            {
                return Read([.. output], exception.Message);
            }
        }

        void Take(OutputLine text)
        {
            lock (output)
            {
                output.Add(text);
            }

            observe(text);
        }
    }

    /// <summary>Reads xtest's output.</summary>
    /// <param name="output">The output's lines.</param>
    /// <param name="interruption">Why there is no more of it; <see langword="null"/> if xtest ended.</param>
    /// <returns>What it says.</returns>
    public static XtestRun Read(IReadOnlyList<OutputLine> output, string? interruption)
    {
        var cases = new List<XtestCase>();
        var skips = new List<string>();
        var errors = new List<string>();
        TimeSpan started = default;
        foreach ((TimeSpan after, string text) in output)
        {
            if (CaseBegins().Match(text) is { Success: true } begins)
            {
                cases.Add(new XtestCase(begins.Groups[1].Value, begins.Groups[2].Value, XtestOutcome.Unfinished,
                    default, skips = [], errors = []));
                started = after;
            }
            else if (cases.Count > 0 && CaseEnds().Match(text) is { Success: true } ends
                && ends.Groups[1].Value == cases[^1].Id)
            {
                XtestOutcome outcome = ends.Groups[2].Value == "OK" ? XtestOutcome.Passed : XtestOutcome.Failed;
                cases[^1] = cases[^1] with { Outcome = outcome, Duration = after - started };
                (skips, errors) = ([], []); // what follows a case is not its own
            }
            else if (Skipped().IsMatch(text))
            {
                skips.Add(text.Trim(' ', '-'));
            }
            else if (Error().IsMatch(text))
            {
                errors.Add(text.Trim());
            }
        }

        bool isFinished = output.Any(line => line.Text == Finished);
        return new XtestRun(cases, isFinished ? null : interruption
            ?? $"xtest ended early: {string.Join('\n', output.TakeLast(TailLength).Select(line => line.Text))}");
    }

    /// <inheritdoc/>
    public override string ToString() => string.Join('\n', Cases.Select(one =>
        $"{one.Id} {one.Outcome} {one.Duration.TotalSeconds:0.0} s {string.Join("; ", one.Errors)}")) + "\n"
            + Interruption;

    [GeneratedRegex(@"^\* regression_(\S+) (.*)$")]
    private static partial Regex CaseBegins();

    // Parts of a case end alike, with a number behind a dot. The summary at the end has no spaces before the name.
    [GeneratedRegex(@"^  regression_([^.\s]+) (OK|FAIL)")]
    private static partial Regex CaseEnds();

    [GeneratedRegex(@"\bskip(ped|ping)?\b", RegexOptions.IgnoreCase)]
    private static partial Regex Skipped();

    [GeneratedRegex(@"^\S*\.c:\d+: ")]
    private static partial Regex Error();
}
