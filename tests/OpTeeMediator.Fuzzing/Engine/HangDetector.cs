namespace OpTeeMediator.Fuzzing.Engine;

/// <summary>Ends the process if one execution takes too long: of processor time, so that a busy machine is no
/// finding, or of time if it waits for something.</summary>
internal sealed class HangDetector : IDisposable
{
    /// <summary>The exit status of a process that this has ended.</summary>
    public const int ExitStatus = 3;

    private static readonly TimeSpan LongestWork = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan LongestWait = TimeSpan.FromMinutes(3);

    private readonly Func<long> _executions;
    private readonly Action _onHang;
    private readonly Timer _timer;
    private long _seen = -1;
    private long _since;
    private TimeSpan _usedBefore;

    public HangDetector(Func<long> executions, Action onHang)
    {
        _executions = executions;
        _onHang = onHang;
        _timer = new Timer(_ => Look(), null, TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(1));
    }

    public void Dispose() => _timer.Dispose();

    private void Look()
    {
        long executions = _executions();
        if (executions != _seen)
        {
            (_seen, _since, _usedBefore) =
                (executions, Environment.TickCount64, Environment.CpuUsage.TotalTime);
        }
        else if (Environment.CpuUsage.TotalTime - _usedBefore > LongestWork
            || Environment.TickCount64 - _since > LongestWait.TotalMilliseconds)
        {
            _onHang();
            Environment.Exit(ExitStatus);
        }
    }
}
