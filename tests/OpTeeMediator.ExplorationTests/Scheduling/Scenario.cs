namespace OpTeeMediator.ExplorationTests.Scheduling;

/// <summary>What some threads do with a machine that was made for one schedule, and what holds at the end.</summary>
internal sealed record Scenario(Action Check, params Action[] Threads)
{
    /// <summary>How many threads the core may have started at a time.</summary>
    public int StartedThreads { get; init; }

    /// <summary>How long a schedule is, about: priorities change within these steps.</summary>
    public int Steps { get; init; } = 60;
}
