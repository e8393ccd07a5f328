using OpTeeMediator.ExplorationTests.Scheduling;

namespace OpTeeMediator;

/// <summary>A thread that the core starts: one of those that a scenario keeps ready for it.</summary>
internal sealed class Thread(Action run)
{
    private static readonly Thread s_outside = new(static () => { });

    /// <summary>The explored thread that runs; outside of schedules, always the same one.</summary>
    public static Thread CurrentThread => Explorer.CurrentThread ?? s_outside;

    /// <summary>What a thread-static variable of the core is, so that no schedule depends on an earlier one.</summary>
    public static ref int LastSlot => ref CurrentThread._lastSlot;

    public bool IsBackground { get; init; }

    public string? Name { get; init; }

    private int _lastSlot;

    public void Start() => Explorer.Start(this, run);

    public static bool Yield()
    {
        Explorer.Yield();
        return true;
    }
}
