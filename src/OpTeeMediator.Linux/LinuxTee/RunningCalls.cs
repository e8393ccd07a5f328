using OpTeeMediator.Backends;

namespace OpTeeMediator.Linux.LinuxTee;

/// <summary>The commands of one VM that may be inside the host's TEE, and the thread that cancels them.</summary>
/// <remarks>
/// The driver's TEE_IOC_CANCEL may block until OP-TEE has a thread for it, while whoever asks for a cancellation must not: hence a thread, started with
/// the first of them. Thread-safe.
/// </remarks>
internal sealed class RunningCalls : IDisposable
{
    // A command that was about to begin does not hear its cancellation: it is told again, at growing intervals.
    private const int FirstRepetitionMilliseconds = 10;
    private const int LastRepetitionMilliseconds = 1000;

    private readonly ITeeDevice _device;
    private readonly string _threadName;
    private readonly RunningCall[] _calls;
    private readonly Lock _gate = new();
    private readonly AutoResetEvent _wake = new(initialState: false);
    private Thread? _thread;
    private uint _lastCancelId;
    private volatile bool _isDisposed;

    internal RunningCalls(ITeeDevice device, int count, string virtualMachine)
    {
        _device = device;
        _threadName = $"tee-cancel {virtualMachine}";
        _calls = new RunningCall[count];
        foreach (ref RunningCall call in _calls.AsSpan())
        {
            call = new RunningCall();
        }
    }

    /// <summary>Notes that a command is about to enter the TEE.</summary>
    /// <returns>Its record, to be left; <see langword="null"/> if there are more commands than announced: this one cannot be cancelled.</returns>
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
                StartThread();
                _ = _wake.Set();
                return;
            }
        }
    }

    /// <summary>Ends the thread. No command is running any more.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            if (_isDisposed)
            {
                return;
            }

            _isDisposed = true;
        }

        if (_thread is { } thread)
        {
            _ = _wake.Set();
            thread.Join();
        }

        _wake.Dispose();
    }

    private void StartThread()
    {
        lock (_gate)
        {
            if (_thread is null && !_isDisposed)
            {
                _thread = new Thread(SendCancellations) { IsBackground = true, Name = _threadName };
                _thread.Start();
            }
        }
    }

    private void SendCancellations()
    {
        int interval = FirstRepetitionMilliseconds;
        bool isAnyPending = false;
        while (!_isDisposed)
        {
            // A new cancellation begins with short intervals again.
            bool isNew = _wake.WaitOne(isAnyPending ? interval : Timeout.Infinite);
            interval = isNew ? FirstRepetitionMilliseconds : int.Min(2 * interval, LastRepetitionMilliseconds);
            isAnyPending = false;
            foreach (RunningCall call in _calls)
            {
                isAnyPending |= !_isDisposed && call.Cancel(_device);
            }
        }
    }
}
