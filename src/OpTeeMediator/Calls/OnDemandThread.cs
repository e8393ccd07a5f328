namespace OpTeeMediator.Calls;

/// <summary>A thread that is started when there is work, and ends when there has been none for a while.</summary>
/// <remarks>A reservation may fail, for want of memory or by a limit on threads; what was reserved is performed. So a
/// caller reserves before it does anything that cannot be taken back. Work that is posted several times before the
/// thread begins with it is performed once. It never throws. Thread-safe.</remarks>
internal sealed class OnDemandThread(Action work, string name, TimeSpan idleTime)
{
    public static readonly TimeSpan DefaultIdleTime = TimeSpan.FromSeconds(10);

    private readonly ManualResetEventSlim _changed = new(false);
    private readonly Lock _lock = new();
    private Thread? _thread;
    private int _reservations;
    private bool _isRunning;
    private bool _isPosted;
    private bool _isStopping;

    /// <summary>Whether the caller runs on this thread.</summary>
    public bool IsCurrent => Volatile.Read(ref _thread) == Thread.CurrentThread;

    /// <summary>Starts the thread unless it runs; it does not end before <see cref="Post"/>.</summary>
    /// <exception cref="OutOfMemoryException">The host cannot start a thread.</exception>
    public void Reserve()
    {
        lock (_lock)
        {
            if (!_isRunning)
            {
                new Thread(Run) { IsBackground = true, Name = name }.Start();
                _isRunning = true;
            }

            _reservations++;
        }
    }

    /// <summary>Has the work performed that was reserved. A full fence.</summary>
    public void Post()
    {
        lock (_lock)
        {
            _reservations--;
            _isPosted = true;
            _changed.Set();
        }

        Interlocked.MemoryBarrier();
    }

    /// <summary>Ends the thread, once its work is done.</summary>
    public void Stop()
    {
        lock (_lock)
        {
            _isStopping = true;
            _changed.Set();
        }
    }

    private void Run()
    {
        Volatile.Write(ref _thread, Thread.CurrentThread);
        while (true)
        {
            bool isIdle = !_changed.Wait(idleTime);
            lock (_lock)
            {
                _changed.Reset();
                if (!_isPosted)
                {
                    if (_reservations == 0 && (isIdle || _isStopping))
                    {
                        _isRunning = false;
                        return;
                    }

                    continue;
                }

                _isPosted = false;
            }

            work();
            lock (_lock)
            {
                if (_isStopping)
                {
                    _changed.Set();
                }
            }
        }
    }
}
