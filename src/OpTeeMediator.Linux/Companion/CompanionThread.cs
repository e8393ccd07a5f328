using Microsoft.Extensions.Logging;
using OpTeeMediator.Diagnostics;

namespace OpTeeMediator.Linux.Companion;

/// <summary>A thread that works for the present OP-TEE of a VM until it is disposed of. Thread-safe.</summary>
internal abstract class CompanionThread : IDisposable
{
    private readonly string _name;
    private readonly ILogger _log;
    private readonly LogRateLimit _failures = new();
    private readonly AutoResetEvent _wake = new(initialState: false);
    private readonly Thread _thread;
    private volatile CompanionTee? _tee;
    private volatile bool _isStopping;

    /// <summary>Prepares the thread; <see cref="Start"/> begins it when the derived object is complete.</summary>
    protected CompanionThread(string name, string purpose, ILogger log)
    {
        _name = name;
        _log = log;
        _thread = new Thread(Run) { IsBackground = true, Name = $"{name}: OP-TEE {purpose}" };
    }

    protected CompanionTee? Tee => _tee;

    protected bool IsStopping => _isStopping;

    /// <summary>Works for another OP-TEE from now on.</summary>
    internal void Serve(CompanionTee tee)
    {
        _tee = tee;
        Wake();
    }

    /// <summary>Ends the thread; not on itself.</summary>
    public void Dispose()
    {
        _isStopping = true;
        Wake();
        _thread.Join();
        _wake.Dispose();
    }

    protected abstract void Run();

    protected void Start() => _thread.Start();

    protected void Wake() => _ = _wake.Set();

    protected void Wait(TimeSpan time) => _ = _wake.WaitOne(time);

    /// <summary>Logs an error, such as KVM's, that must not end the thread.</summary>
    protected void LogFailure(Exception exception)
    {
        if (_failures.TryPass(out long suppressed))
        {
            _log.SupervisionFailed(_name, suppressed, exception);
        }
    }
}
