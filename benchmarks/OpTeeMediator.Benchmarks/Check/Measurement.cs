using System.Diagnostics;
using OpTeeMediator.Benchmarks.Scenarios;

namespace OpTeeMediator.Benchmarks.Check;

/// <summary>What a scenario cost, beside its reference in the same run.</summary>
public sealed record Measurement(double Nanoseconds, double ReferenceNanoseconds, long BytesPerThousand)
{
    private const int AllocationOperations = 1000;

    /// <summary>The time as a multiple of the reference's.</summary>
    public double Ratio => Nanoseconds / ReferenceNanoseconds;

    /// <summary>Runs scenarios and a reference in turn, many short rounds, and takes the lower tenth of each: rounds
    /// that other work on the computer has disturbed are above it.</summary>
    /// <param name="scenarios">Each scenario and how often a round does it; the last one is the reference.</param>
    /// <param name="rounds">How many rounds.</param>
    /// <returns>Nanoseconds of each.</returns>
    public static double[] TakeTimes((Scenario Scenario, int Operations)[] scenarios, int rounds)
    {
        WarmUp(scenarios);
        double[][] times = [.. scenarios.Select(_ => new double[rounds])];
        for (int round = 0; round < rounds; round++)
        {
            for (int index = 0; index < scenarios.Length; index++)
            {
                times[index][round] = NanosecondsOf(scenarios[index].Scenario, scenarios[index].Operations);
            }
        }

        return [.. times.Select(LowerTenth)];
    }

    /// <summary>Measures a scenario beside a reference.</summary>
    public static Measurement Take(
        Scenario measured, int operations, Scenario reference, int referenceOperations, int rounds)
    {
        double[] times = TakeTimes([(measured, operations), (reference, referenceOperations)], rounds);
        return new Measurement(times[0], times[1], CountBytes(measured));
    }

    /// <summary>Measures a scenario by its description.</summary>
    public static Measurement Take(MeasuredScenario one, int rounds)
    {
        using Scenario measured = one.Create();
        using Scenario? subtracted = one.CreateSubtracted?.Invoke();
        using Scenario? own = one.CreateReference?.Invoke();
        using Scenario reference = own ?? new BareInvoke();
        int referenceOperations = own is null ? BareInvoke.OperationsOfRound : one.Operations;
        (Scenario, int)[] scenarios = subtracted is null
            ? [(measured, one.Operations), (reference, referenceOperations)]
            : [(measured, one.Operations), (subtracted, one.Operations), (reference, referenceOperations)];
        double[] times = TakeTimes(scenarios, rounds);
        double time = (times[0] - (subtracted is null ? 0 : times[1])) / one.Parts;
        return new Measurement(time, times[^1], CountBytes(measured));
    }

    public static double NanosecondsOf(Scenario scenario, int operations)
    {
        long start = Stopwatch.GetTimestamp();
        scenario.Run(operations);
        return Stopwatch.GetElapsedTime(start).TotalNanoseconds / operations;
    }

    public static double LowerTenth(double[] values)
    {
        Array.Sort(values);
        return values[values.Length / 10];
    }

    private static long CountBytes(Scenario measured)
    {
        long before = GC.GetTotalAllocatedBytes(precise: true);
        measured.Run(AllocationOperations);
        return GC.GetTotalAllocatedBytes(precise: true) - before;
    }

    /// <summary>Until the tiered compiler has finished with all that is run here: beside other work that takes it
    /// seconds, so what counts is that nothing becomes faster any more.</summary>
    private static void WarmUp((Scenario Scenario, int Operations)[] scenarios)
    {
        const int LongEnough = 3;
        const double Faster = 0.97;
        double[] best = [.. scenarios.Select(_ => double.MaxValue)];
        int unchanged = 0;
        for (Stopwatch total = Stopwatch.StartNew(); unchanged < LongEnough && total.ElapsedMilliseconds < 5000;)
        {
            unchanged++;
            for (Stopwatch window = Stopwatch.StartNew(); window.ElapsedMilliseconds < 250;)
            {
                for (int index = 0; index < scenarios.Length; index++)
                {
                    double time = NanosecondsOf(scenarios[index].Scenario, scenarios[index].Operations);
                    unchanged = time < best[index] * Faster ? 0 : unchanged;
                    best[index] = Math.Min(best[index], time);
                }
            }
        }
    }
}
