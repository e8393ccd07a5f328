using System.Diagnostics;
using System.Globalization;
using OpTeeMediator.ExplorationTests.Scheduling;

namespace OpTeeMediator.ExplorationTests;

/// <summary>No order of threads breaks a machine of the core, and orders that broke earlier ones are found.</summary>
[NonParallelizable]
internal sealed class ExplorationTests
{
    private static readonly int Schedules = int.Parse(
        Environment.GetEnvironmentVariable("EXPLORED_SCHEDULES") ?? "2000", CultureInfo.InvariantCulture);

    private static readonly Dictionary<string, Func<Scenario>> Machines = new()
    {
        ["pause"] = Scenarios.Pause,
        ["pauses"] = Scenarios.PauseTwice,
        ["pins"] = Scenarios.Pins,
        ["sequence lock"] = Scenarios.SequenceLock,
        ["slots"] = Scenarios.Slots,
        ["completion"] = Scenarios.Completion,
    };

    [TearDown]
    public void TearDown() => Races.PutBack = KnownRace.None;

    [TestCase("pause")]
    [TestCase("pauses")]
    [TestCase("pins")]
    [TestCase("sequence lock")]
    [TestCase("slots")]
    [TestCase("completion")]
    public void Explore_Machine_HasNoFinding(string machine)
    {
        long start = Stopwatch.GetTimestamp();
        Assert.That(Explorer.Explore(Machines[machine], Schedules), Is.Null);
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        TestContext.Out.WriteLine($"{machine}: {Schedules} schedules in {seconds:F1} s");
    }

    [TestCase("pause", nameof(KnownRace.PauseIsReadFirst))]
    [TestCase("pauses", nameof(KnownRace.WithdrawalEndsAllPauses))]
    [TestCase("pins", nameof(KnownRace.PinsAreNotExclusive))]
    [TestCase("sequence lock", nameof(KnownRace.VersionIsNotReadAgain))]
    [TestCase("slots", nameof(KnownRace.ResumeIsNotAtomic))]
    [TestCase("completion", nameof(KnownRace.WaitIsSaidTooLate))]
    public void Explore_RacePutBack_IsFoundAndReplayed(string machine, string race)
    {
        Races.PutBack = Enum.Parse<KnownRace>(race);

        string? finding = Explorer.Explore(Machines[machine], 2000);

        Assert.That(finding, Is.Not.Null);
        TestContext.Out.WriteLine(finding);
        int seed = int.Parse(finding!["Seed ".Length..finding.IndexOf(':', StringComparison.Ordinal)],
            CultureInfo.InvariantCulture);
        Assert.That(Explorer.Explore(Machines[machine], 1, seed), Is.EqualTo(finding));

        // Otherwise it would be a fault in every order, and prove nothing.
        Assert.That(Enumerable.Range(1, 200).Any(other => Explorer.Explore(Machines[machine], 1, other) is null));
    }
}
