using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using OpTeeMediator.Benchmarks.Scenarios;

namespace OpTeeMediator.Benchmarks.Check;

/// <summary>Compares what everything costs with <c>benchmarks/budget.json</c>.</summary>
/// <remarks>
/// The budget is what was reached. A scenario breaks it if it stays more than a tenth above it in several processes:
/// each process compiles again, with a profile of its own, and lays out its memory again, which makes a difference of
/// up to a tenth; and the computer may have more to do at one time than at another.
/// </remarks>
public static class BudgetCheck
{
    /// <summary>The first argument of a process that measures.</summary>
    internal const string MeasureArgument = "--measure";

    private const int Rounds = 1001;
    private const int Processes = 6;

    /// <summary>Throughput of two vCPUs on one VM against one; only reported, as it needs two idle cores.</summary>
    internal static void ReportTwoThreads(TextWriter output)
    {
        // Many: each round starts the second thread, which takes a tenth of a millisecond.
        const int Operations = 200_000;
        const int Rounds = 101;
        using Scenario one = Invoke.WithValues(1);
        using Scenario two = Invoke.WithValues(2);
        double[] times = Measurement.TakeTimes([(two, Operations), (one, Operations)], Rounds);
        output.WriteLine(string.Create(
            CultureInfo.InvariantCulture, $"two threads on one VM: {2 * times[1] / times[0]:f2} times one"));
    }

    /// <summary>What each scenario may cost, by its name.</summary>
    public static Dictionary<string, Budget> ReadBudgets() =>
        JsonSerializer.Deserialize(
            File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "budget.json")),
            CheckJson.Default.DictionaryStringBudget)!;

    /// <summary>Measures everything, prints the ratios, and returns the number of broken budgets.</summary>
    /// <param name="output">Where they are printed.</param>
    /// <param name="slack">How many times its budget a ratio may be.</param>
    internal static int Run(TextWriter output, double slack)
    {
        Dictionary<string, Budget> budgets = ReadBudgets();
        Dictionary<string, Measurement> best = [];
        string[] names = [.. MeasuredScenario.All.Select(one => one.Name)];
        string[] broken = names;
        for (int process = 0; process < Processes && broken.Length > 0; process++)
        {
            MeasureInAnotherProcess(null, broken, best);
            broken = [.. names.Where(name => IsBroken(best[name], budgets[name], slack))];
        }

        output.WriteLine($"{"measured",-32} {"ns",9} {"ratio",8} {"budget",8} {"bytes",7}");
        foreach (string name in names)
        {
            output.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{name,-32} {best[name].Nanoseconds,9:f1} {best[name].Ratio,8:f2} {budgets[name].Ratio,8:f2} "
                + $"{best[name].BytesPerThousand / 1000,7}{(broken.Contains(name) ? "  BROKEN" : string.Empty)}"));
        }

        output.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"reference: a bare invoke, {best[names[0]].ReferenceNanoseconds:f1} ns"));
        ReportTwoThreads(output);
        return broken.Length;
    }

    /// <summary>Measures scenarios and prints a line of JSON for each.</summary>
    internal static void Measure(ReadOnlySpan<string> names)
    {
        foreach (string name in names)
        {
            Measurement measured = Measurement.Take(MeasuredScenario.All.Single(one => one.Name == name), Rounds);
            Console.WriteLine(JsonSerializer.Serialize(measured, CheckJson.Default.Measurement));
        }
    }

    /// <summary>Starts this program again, or another one.</summary>
    internal static Process Start(string? program, params ReadOnlySpan<string> arguments)
    {
        ProcessStartInfo start = new(program ?? Environment.ProcessPath!) { RedirectStandardOutput = true };
        if (program is null && Path.GetFileNameWithoutExtension(start.FileName) == "dotnet")
        {
            string name = typeof(BudgetCheck).Assembly.GetName().Name!;
            start.ArgumentList.Add(Path.Combine(AppContext.BaseDirectory, $"{name}.dll"));
        }

        foreach (string argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        return Process.Start(start)!;
    }

    /// <summary>Measures in a process of its own, and keeps what is better than what was measured before.</summary>
    /// <param name="program">Which program; <see langword="null"/> for this one.</param>
    /// <param name="names">The scenarios.</param>
    /// <param name="best">What was measured before.</param>
    internal static void MeasureInAnotherProcess(
        string? program, string[] names, Dictionary<string, Measurement> best)
    {
        using Process process = Start(program, [MeasureArgument, .. names]);
        foreach (string name in names)
        {
            string line = process.StandardOutput.ReadLine()
                ?? throw new InvalidOperationException($"The process that measures {name} has ended without a result.");
            Measurement measured = JsonSerializer.Deserialize(line, CheckJson.Default.Measurement)!;
            best[name] = best.TryGetValue(name, out Measurement? earlier) ? Better(earlier, measured) : measured;
        }

        process.WaitForExit();
    }

    private static Measurement Better(Measurement one, Measurement other) =>
        (one.Ratio < other.Ratio ? one : other) with
        {
            BytesPerThousand = Math.Min(one.BytesPerThousand, other.BytesPerThousand),
        };

    // The collector's and the compiler's own threads allocate a little now and then: less than a
    // byte per operation is theirs.
    private static bool IsBroken(Measurement measured, Budget budget, double slack) =>
        measured.BytesPerThousand / 1000 > budget.BytesPerOperation || measured.Ratio > budget.Ratio * slack;
}
