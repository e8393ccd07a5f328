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
        ["beginning"] = Scenarios.Beginning,
        ["drain"] = CallScenarios.Drain,
        ["restart"] = CallScenarios.Restart,
        ["teardown"] = CallScenarios.Teardown,
        ["buffer pool"] = MemoryScenarios.BufferPool,
        ["forwarder cookies"] = MemoryScenarios.Cookies,
        ["save, drained"] = SaveScenarios.Drained,
        ["save, at once"] = SaveScenarios.AtOnce,
        ["save, restart"] = SaveScenarios.WithRestart,
    };

    [TearDown]
    public void TearDown() => Races.PutBack = KnownRace.None;

    [TestCase("pause")]
    [TestCase("pauses")]
    [TestCase("pins")]
    [TestCase("sequence lock")]
    [TestCase("slots")]
    [TestCase("completion")]
    [TestCase("beginning")]
    [TestCase("drain")]
    [TestCase("restart")]
    [TestCase("teardown")]
    [TestCase("buffer pool")]
    [TestCase("forwarder cookies")]
    [TestCase("save, drained")]
    [TestCase("save, at once")]
    [TestCase("save, restart")]
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
    [TestCase("drain", nameof(KnownRace.WaitersAreAskedTooEarly))]
    [TestCase("drain", nameof(KnownRace.VersionIsNotReadAgain))]
    [TestCase("restart", nameof(KnownRace.RetirementIsNotSeen))]
    [TestCase("teardown", nameof(KnownRace.SuspendedCallIsLeft))]
    [TestCase("buffer pool", nameof(KnownRace.SpareIsTakenTwice))]
    [TestCase("forwarder cookies", nameof(KnownRace.TranslationIsNotChecked))]
    [TestCase("save, drained", nameof(KnownRace.BeginsWhileDraining))]
    [TestCase("save, drained", nameof(KnownRace.EndIsNotSeenBeforeSleep))]
    [TestCase("beginning", nameof(KnownRace.PhaseIsReadTwice))]
    [TestCase("save, restart", nameof(KnownRace.TeardownIsNotHeld))]
    public void Explore_RacePutBack_IsFoundAndReplayed(string machine, string race)
    {
        Races.PutBack = Enum.Parse<KnownRace>(race);

        string? finding = Explorer.Explore(Machines[machine], 10_000);

        Assert.That(finding, Is.Not.Null);
        TestContext.Out.WriteLine(finding);
        int seed = int.Parse(finding!["Seed ".Length..finding.IndexOf(':', StringComparison.Ordinal)],
            CultureInfo.InvariantCulture);
        Assert.That(Explorer.Explore(Machines[machine], 1, seed), Is.EqualTo(finding));

        // Otherwise it would be a fault in every order, and prove nothing.
        Assert.That(Enumerable.Range(1, 200).Any(other => Explorer.Explore(Machines[machine], 1, other) is null));
    }
}
