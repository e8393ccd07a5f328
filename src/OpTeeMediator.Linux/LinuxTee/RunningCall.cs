using OpTeeMediator.Backends;

namespace OpTeeMediator.Linux.LinuxTee;

/// <summary>A command that may be inside the host's TEE, so that it can be cancelled; used again.</summary>
internal sealed class RunningCall
{
    // Held for moments only; Leave waits on it while a cancellation is being sent.
    private readonly object _gate = new();
    private TeeRequest? _request;
    private uint _session;
    private uint _cancelId;
    private bool _isCancelRequested;
    private bool _isSending;

    /// <summary>By which the driver knows the command.</summary>
    internal uint CancelId => _cancelId;

    /// <summary>Takes the object if it is free.</summary>
    internal bool TryEnter(TeeRequest request, uint session, uint cancelId)
    {
        if (Volatile.Read(ref _request) is not null)
        {
            return false;
        }

        lock (_gate)
        {
            if (_request is not null)
            {
                return false;
            }

            _session = session;
            _cancelId = cancelId;
            _isCancelRequested = false;

            // A full fence, which the end of a lock is not: either a cancellation finds the command, or the command
            // sees the cancellation.
            _ = Interlocked.Exchange(ref _request, request);
            return true;
        }
    }

    /// <summary>Gives it back, after a cancellation that is being sent: OP-TEE would cancel the next command.</summary>
    internal void Leave()
    {
        lock (_gate)
        {
            while (_isSending)
            {
                _ = Monitor.Wait(_gate);
            }

            Volatile.Write(ref _request, null);
        }
    }

    /// <summary>Marks the command for cancellation, if it is this one.</summary>
    internal bool TryRequestCancel(TeeRequest request)
    {
        if (Volatile.Read(ref _request) != request)
        {
            return false;
        }

        lock (_gate)
        {
            _isCancelRequested |= _request == request;
            return _request == request;
        }
    }

    /// <summary>Tells the TEE, if the command is marked and still running. Takes as long as the TEE takes.</summary>
    /// <returns>Whether to repeat it, because a command that is about to begin misses it.</returns>
    internal bool Cancel(ITeeDevice device)
    {
        uint session;
        uint cancelId;
        lock (_gate)
        {
            if (_request is null || !_isCancelRequested)
            {
                return false;
            }

            _isSending = true;
            session = _session;
            cancelId = _cancelId;
        }

        try
        {
            _ = device.Cancel(session, cancelId);
            return true;
        }
        finally
        {
            // Also if the device has thrown: the command waits for this.
            lock (_gate)
            {
                _isSending = false;
                Monitor.PulseAll(_gate);
            }
        }
    }
}
