using System.Diagnostics;
using OpTeeMediator.Benchmarks.Scenarios;

namespace OpTeeMediator.Benchmarks.Check;

/// <summary>What a scenario cost, beside its reference in the same run.</summary>
public sealed record Measurement(double Ratio, double Nanoseconds, double ReferenceNanoseconds, long BytesPerThousand)
{
    /// <summary>How often in a row a copy is done as the reference.</summary>
    public const int CopyOperations = 500;

    private const int AllocationOperations = 1000;

    /// <summary>Runs the reference and what is measured in turn, many times, and takes the medians.</summary>
    public static Measurement Take(
        Scenario measured, int operations, Scenario reference, int referenceOperations, int rounds)
    {
        // Long enough for the tiered compiler to have finished with all that is run here.
        Stopwatch warmUp = Stopwatch.StartNew();
        while (warmUp.ElapsedMilliseconds < 600)
        {
            measured.Run(operations);
            reference.Run(referenceOperations);
        }

        double[] times = new double[rounds];
        double[] referenceTimes = new double[rounds];
        for (int round = 0; round < rounds; round++)
        {
            referenceTimes[round] = NanosecondsOf(reference, referenceOperations);
            times[round] = NanosecondsOf(measured, operations);
        }

        long before = GC.GetTotalAllocatedBytes(precise: true);
        measured.Run(AllocationOperations);
        long bytes = GC.GetTotalAllocatedBytes(precise: true) - before;

        double nanoseconds = Median(times);
        double referenceNanoseconds = Median(referenceTimes);
        return new Measurement(nanoseconds / referenceNanoseconds, nanoseconds, referenceNanoseconds, bytes);
    }

    public static double NanosecondsOf(Scenario scenario, int operations)
    {
        long start = Stopwatch.GetTimestamp();
        scenario.Run(operations);
        return Stopwatch.GetElapsedTime(start).TotalNanoseconds / operations;
    }

    public static double Median(double[] values)
    {
        Array.Sort(values);
        return values[values.Length / 2];
    }
}
