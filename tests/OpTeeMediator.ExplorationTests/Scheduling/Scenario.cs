namespace OpTeeMediator.ExplorationTests.Scheduling;

/// <summary>What some threads do with a machine that was made for one schedule, and what holds at the end.</summary>
internal sealed record Scenario(Action Check, params Action[] Threads);
