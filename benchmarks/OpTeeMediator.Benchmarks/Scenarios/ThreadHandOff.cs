namespace OpTeeMediator.Benchmarks.Scenarios;

/// <summary>A hand-off to another thread and back with events alone: what a hand-off costs at least on this
/// computer, as busy as it is.</summary>
public sealed class ThreadHandOff : Scenario
{
    private readonly ManualResetEventSlim _asked = new(false);
    private readonly ManualResetEventSlim _answered = new(false);
    private readonly Thread _thread;
    private volatile bool _isOver;

    public ThreadHandOff()
    {
        _thread = new Thread(Answer) { IsBackground = true, Name = "hand-off" };
        _thread.Start();
    }

    public override void Run(int operations)
    {
        for (int count = 0; count < operations; count++)
        {
            _asked.Set();
            _answered.Wait();
            _answered.Reset();
        }
    }

    protected override void Dispose(bool disposing)
    {
        _isOver = true;
        _asked.Set();
        _thread.Join();
        _asked.Dispose();
        _answered.Dispose();
        base.Dispose(disposing);
    }

    private void Answer()
    {
        while (true)
        {
            _asked.Wait();
            _asked.Reset();
            if (_isOver)
            {
                return;
            }

            _answered.Set();
        }
    }
}
