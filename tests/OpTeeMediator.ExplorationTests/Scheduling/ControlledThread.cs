namespace OpTeeMediator.ExplorationTests.Scheduling;

/// <summary>A thread that goes on only when it has its turn; used for all schedules of a scenario.</summary>
internal sealed class ControlledThread
{
    // Blocks at once: one that yields its processor a few times first waits each time until all others of the computer
    // have had theirs.
    private readonly AutoResetEvent _turn = new(false);

    public ControlledThread(int index, Action<ControlledThread> run)
    {
        Index = index;
        new System.Threading.Thread(() => run(this)) { IsBackground = true, Name = $"explored {index}" }.Start();
    }

    public int Index { get; }

    public Action? Body { get; set; }

    /// <summary>What the core has for this thread, in this schedule.</summary>
    public Thread? Thread { get; set; }

    public bool IsFinished { get; set; }

    public bool IsUnwinding { get; set; }

    /// <summary>How many scheduling points it has passed since it began to unwind.</summary>
    public int PointsUnwound { get; set; }

    /// <summary>What it waits for, if it waits.</summary>
    public Func<bool>? MayGoOn { get; set; }

    public bool IsPulsed { get; set; }

    public long Priority { get; set; }

    public void GiveTurn() => _turn.Set();

    public void AwaitTurn() => _turn.WaitOne();
}
