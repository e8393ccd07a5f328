using System.Diagnostics;
using OpTeeMediator.Benchmarks.Scenarios;

namespace OpTeeMediator.Benchmarks.Check;

/// <summary>What one subject cost beside the floor in the same run.</summary>
public sealed record Measurement(double Ratio, double Nanoseconds, double FloorNanoseconds, long BytesPerThousand)
{
    /// <summary>How often in a row a copy is done as the floor.</summary>
    public const int CopyOperations = 500;

    private const int AllocationOperations = 1000;

    /// <summary>Runs floor and subject in turn, many times, and takes the medians.</summary>
    public static Measurement Take(Scenario subject, int operations, Scenario floor, int floorOperations, int rounds)
    {
        // Long enough for the tiered compiler to have finished with all that is run here.
        Stopwatch warmUp = Stopwatch.StartNew();
        while (warmUp.ElapsedMilliseconds < 600)
        {
            subject.Run(operations);
            floor.Run(floorOperations);
        }

        double[] subjects = new double[rounds];
        double[] floors = new double[rounds];
        for (int round = 0; round < rounds; round++)
        {
            floors[round] = NanosecondsOf(floor, floorOperations);
            subjects[round] = NanosecondsOf(subject, operations);
        }

        long before = GC.GetTotalAllocatedBytes(precise: true);
        subject.Run(AllocationOperations);
        long bytes = GC.GetTotalAllocatedBytes(precise: true) - before;

        double nanoseconds = Median(subjects);
        double floorNanoseconds = Median(floors);
        return new Measurement(nanoseconds / floorNanoseconds, nanoseconds, floorNanoseconds, bytes);
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
