using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using OpTeeMediator.Benchmarks.Scenarios;

namespace OpTeeMediator.Benchmarks.Check;

/// <summary>Compares what everything costs with <c>benchmarks/budget.json</c>.</summary>
internal static class BudgetCheck
{
    private const int Rounds = 301;
    private const int MoreRounds = 1001;

    // These machines are noisy: only what is far beyond its budget is a fault.
    private const double Tolerance = 2;

    /// <summary>Measures everything, prints the ratios, and returns the number of broken budgets.</summary>
    public static int Run(TextWriter output)
    {
        Dictionary<string, Budget> budgets = JsonSerializer.Deserialize<Dictionary<string, Budget>>(
            File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "budget.json")), JsonSerializerOptions.Web)!;
        int broken = 0;
        using PageCopy copy = new();
        output.WriteLine($"{"measured",-32} {"ns",9} {"ratio",8} {"budget",8} {"bytes",7}");
        foreach (MeasuredScenario one in MeasuredScenario.All)
        {
            using Scenario scenario = one.Create();
            Budget budget = budgets[one.Name];
            using Scenario? own = one.CreateReference?.Invoke();
            Scenario reference = own ?? copy;
            int referenceOperations = own is null ? Measurement.CopyOperations : one.Operations;
            Measurement measured =
                Measurement.Take(scenario, one.Operations, reference, referenceOperations, Rounds);
            if (IsBroken(measured, budget))
            {
                measured = Measurement.Take(scenario, one.Operations, reference, referenceOperations, MoreRounds);
            }

            bool isBroken = IsBroken(measured, budget);
            broken += isBroken ? 1 : 0;
            output.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{one.Name,-32} {measured.Nanoseconds,9:f1} {measured.Ratio,8:f2} {budget.Ratio,8:f2} "
                + $"{measured.BytesPerThousand / 1000,7}{(isBroken ? "  BROKEN" : string.Empty)}"));
        }

        ReportReference(output, copy);
        ReportRpc(output, copy);
        ReportTwoThreads(output);
        return broken;
    }

    // The collector's and the compiler's own threads allocate a little now and then: less than a
    // byte per operation is theirs.
    private static bool IsBroken(Measurement measured, Budget budget) =>
        measured.BytesPerThousand / 1000 > budget.BytesPerOperation || measured.Ratio > budget.Ratio * Tolerance;

    private static void ReportReference(TextWriter output, PageCopy copy)
    {
        Measurement measured =
            Measurement.Take(copy, Measurement.CopyOperations, copy, Measurement.CopyOperations, Rounds);
        output.WriteLine(string.Create(
            CultureInfo.InvariantCulture, $"reference: a copy of 4 KiB, {measured.Nanoseconds:f1} ns"));
    }

    /// <summary>A call to the guest and its answer alone: what a command costs more with one of them, and
    /// with each further.</summary>
    private static void ReportRpc(TextWriter output, PageCopy copy)
    {
        const int Operations = 200;
        const int Further = 8;
        using Scenario none = Invoke.WithRpc(0);
        using Scenario one = Invoke.WithRpc(1);
        using Scenario many = Invoke.WithRpc(1 + Further);
        Scenario[] scenarios = [copy, none, one, many];
        double[][] times = [.. scenarios.Select(_ => new double[MoreRounds])];
        Stopwatch warmUp = Stopwatch.StartNew();
        while (warmUp.ElapsedMilliseconds < 1000)
        {
            Array.ForEach(scenarios, scenario => scenario.Run(Operations));
        }

        for (int round = 0; round < MoreRounds; round++)
        {
            for (int index = 0; index < scenarios.Length; index++)
            {
                times[index][round] = Measurement.NanosecondsOf(scenarios[index], Operations);
            }
        }

        double[] medians = [.. times.Select(Measurement.Median)];
        output.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"an RPC round trip: {(medians[2] - medians[1]) / medians[0]:f2} copies for the first of a command, "
            + $"{(medians[3] - medians[2]) / Further / medians[0]:f2} for each further"));
    }

    /// <summary>Throughput of two vCPUs on one VM against one; only reported, as it needs two idle cores.</summary>
    private static void ReportTwoThreads(TextWriter output)
    {
        const int Operations = 200_000;
        const int Runs = 15;
        using Scenario one = Invoke.WithValues(1);
        using Scenario two = Invoke.WithValues(2);
        double[] single = new double[Runs];
        double[] both = new double[Runs];
        one.Run(Operations);
        two.Run(Operations);
        for (int run = 0; run < Runs; run++)
        {
            single[run] = Measurement.NanosecondsOf(one, Operations);
            both[run] = Measurement.NanosecondsOf(two, Operations);
        }

        output.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"two threads on one VM: {2 * Measurement.Median(single) / Measurement.Median(both):f2} times one"));
    }
}
