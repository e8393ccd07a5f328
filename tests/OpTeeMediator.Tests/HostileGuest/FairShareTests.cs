using System.Diagnostics;
using OpTeeMediator.Testing;

namespace OpTeeMediator.Tests.HostileGuest;

/// <summary>What is left for a good guest beside two hostile ones.</summary>
[NonParallelizable]
internal sealed class FairShareTests
{
    private const double Promised = 0.8;

    /// <summary>How many pairs of rounds there are at least, and at most.</summary>
    private const int Least = 15;

    private const int Most = 100;

    private static readonly TimeSpan Round = TimeSpan.FromMilliseconds(30);

    /// <summary>The good guest's fair share is what it gets beside two good guests that are as busy. Both are measured
    /// in turns, so that whatever else the machine does meets both.</summary>
    /// <remarks>All guests have one vCPU and the same TEE. A pair of rounds gives one ratio; the median counts. On a
    /// busy machine single ratios scatter: there are more rounds until the median is above what is promised, and a
    /// guest that gets less keeps it below however many there are.</remarks>
    [Test]
    public async Task GoodGuest_BesideTwoHostileOnes_KeepsFourFifthsOfItsFairShare()
    {
        ScriptedBackend backend = new();
        await using BusyGuest measured = BusyGuest.Good(backend);
        await using BusyGuest firstGood = BusyGuest.Good(backend);
        await using BusyGuest secondGood = BusyGuest.Good(backend);
        await using BusyGuest firstHostile = BusyGuest.Hostile(backend);
        await using BusyGuest secondHostile = BusyGuest.Hostile(backend);
        Action work = measured.Work;
        Action[] good = [firstGood.Work, secondGood.Work];
        Action[] hostile = [firstHostile.Work, secondHostile.Work];
        _ = Measure(work, good);
        _ = Measure(work, hostile);

        List<double> ratios = [];
        while (ratios.Count < Least || (Median(ratios) < Promised && ratios.Count < Most))
        {
            // Which one is first changes, so that a load that grows or falls favours neither.
            bool isHostileFirst = ratios.Count % 2 == 0;
            long first = Measure(work, isHostileFirst ? hostile : good);
            long second = Measure(work, isHostileFirst ? good : hostile);
            ratios.Add(isHostileFirst ? (double)first / second : (double)second / first);
        }

        TestContext.Out.WriteLine($"{Median(ratios):0.00} of the fair share, median of {ratios.Count}");
        Assert.That(Median(ratios), Is.GreaterThanOrEqualTo(Promised));
    }

    private static double Median(List<double> values) => values.Order().ElementAt(values.Count / 2);

    /// <summary>How often the measured guest does its work in a round, while others do theirs.</summary>
    private static long Measure(Action work, Action[] others)
    {
        using CancellationTokenSource end = new();
        using Barrier begin = new(others.Length + 1);
        Task[] beside =
        [
            .. others.Select(other => Task.Factory.StartNew(
                () =>
                {
                    begin.SignalAndWait();
                    while (!end.IsCancellationRequested)
                    {
                        other();
                    }
                },
                CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default)),
        ];
        begin.SignalAndWait();
        long done = 0;
        long until = Stopwatch.GetTimestamp() + (long)(Round.TotalSeconds * Stopwatch.Frequency);
        do
        {
            work();
            done++;
        }
        while (Stopwatch.GetTimestamp() < until);

        end.Cancel();
        Task.WaitAll(beside);
        return done;
    }
}
