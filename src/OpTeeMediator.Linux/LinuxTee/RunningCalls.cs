using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;

namespace OpTeeMediator.Linux.LinuxTee;

/// <summary>The commands of one VM that may be inside the host's TEE, and the thread that cancels them.</summary>
/// <remarks>The driver's TEE_IOC_CANCEL may block until OP-TEE has a thread for it, while the thread that asks for a
/// cancellation must not: hence a thread of its own, one for each VM, started with the VM so that no call of the guest
/// makes one. Thread-safe.</remarks>
internal sealed class RunningCalls : IDisposable
{
    // A command that was about to begin does not hear its cancellation: it is told again, at growing intervals.
    private const int FirstRepetitionMilliseconds = 10;
    private const int LastRepetitionMilliseconds = 1000;

    private readonly ITeeDevice _device;
    private readonly string _virtualMachine;
    private readonly ILogger _logger;
    private readonly RunningCall[] _calls;
    private readonly AutoResetEvent _wake = new(initialState: false);
    private readonly Thread _thread;
    private uint _lastCancelId;
    private int _hasFailed;
    private volatile bool _isStopping;
    private int _isDisposed;

    internal RunningCalls(ITeeDevice device, int count, string virtualMachine, ILogger logger, Action<Thread> start)
    {
        _device = device;
        _virtualMachine = virtualMachine;
        _logger = logger;
        _calls = new RunningCall[count];
        foreach (ref RunningCall call in _calls.AsSpan())
        {
            call = new RunningCall();
        }

        _thread = new Thread(SendCancellations) { IsBackground = true, Name = $"tee-cancel {virtualMachine}" };
        start(_thread);
    }

    /// <summary>Notes that a command is about to enter the TEE, unless there are more than announced.</summary>
    internal RunningCall? Enter(TeeRequest request, uint session)
    {
        uint cancelId = Interlocked.Increment(ref _lastCancelId);
        foreach (RunningCall call in _calls)
        {
            if (call.TryEnter(request, session, cancelId))
            {
                return call;
            }
        }

        return null;
    }

    /// <summary>Has a command cancelled. Does not wait for it.</summary>
    internal void Cancel(TeeRequest request)
    {
        foreach (RunningCall call in _calls)
        {
            if (call.TryRequestCancel(request))
            {
                _ = _wake.Set();
                return;
            }
        }
    }

    /// <summary>Ends the thread. No command is running any more.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _isDisposed, 1) == 0)
        {
            _isStopping = true;
            _ = _wake.Set();
            _thread.Join();
            _wake.Dispose();
        }
    }

    private void SendCancellations()
    {
        int interval = FirstRepetitionMilliseconds;
        bool isAnyPending = false;
        while (!_isStopping)
        {
            // A new cancellation begins with short intervals again.
            bool isNew = _wake.WaitOne(isAnyPending ? interval : Timeout.Infinite);
            interval = isNew ? FirstRepetitionMilliseconds : int.Min(2 * interval, LastRepetitionMilliseconds);
            isAnyPending = false;
            foreach (RunningCall call in _calls)
            {
                isAnyPending |= !_isStopping && TryCancel(call);
            }
        }
    }

    private bool TryCancel(RunningCall call)
    {
        try
        {
            return call.Cancel(_device);
        }
        catch (Exception exception)
        {
            // The command then ends by itself. Logged once for each VM, since the guest decides how often it cancels.
            if (Interlocked.Exchange(ref _hasFailed, 1) == 0)
            {
                _logger.CancellationFailed(_virtualMachine, exception);
            }

            return false;
        }
    }
}
