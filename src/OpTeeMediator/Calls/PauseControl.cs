namespace OpTeeMediator.Calls;

/// <summary>Whether the VM is paused, and who is at work in the backend without a call slot of its own.</summary>
/// <remarks>
/// <para>Who begins to work in the backend, or goes on there, says so first, then a full fence, then looks
/// whether the VM is paused. Who pauses it does the two in the opposite order. So each work is either held,
/// or seen and waited for.</para>
/// <para>Resetting and disposing of the VM end what its drivers have left, and are not held; see
/// <see cref="BeginEnding"/>. Thread-safe.</para>
/// </remarks>
internal sealed class PauseControl
{
    private readonly object _monitor = new();
    private volatile bool _isPaused;
    private bool _hasSucceeded;
    private int _attempts;
    private long _resumptions;
    private volatile int _endings;
    private int _working;

    /// <summary>Called, on the thread that does it, after a pause or with the begin of an ending: what
    /// was held may go on.</summary>
    public Action Released { get; set; } = static () => { };

    /// <summary>Whether nothing may begin.</summary>
    public bool IsPaused => _isPaused;

    /// <summary>Whether the VM is being reset or disposed of.</summary>
    public bool IsEnding => _endings != 0;

    /// <summary>Whether no one is at work without a call slot.</summary>
    public bool IsQuiet => Volatile.Read(ref _working) == 0;

    /// <summary>Whether what belongs to a driver instance may not go on.</summary>
    public bool Holds(DriverInstance driverInstance) => _isPaused && !(_endings != 0 && driverInstance.IsRetired);

    /// <summary>Pauses the VM as long as the attempt goes on.</summary>
    /// <returns>The attempt, for <see cref="TryConfirm"/>, <see cref="IsOver"/> and <see cref="Withdraw"/>.</returns>
    public long Attempt()
    {
        lock (_monitor)
        {
            _attempts++;
            _isPaused = true;
            Interlocked.MemoryBarrier();
            return _resumptions;
        }
    }

    /// <summary>Whether the VM was resumed during the attempt.</summary>
    public bool IsOver(long attempt) => Volatile.Read(ref _resumptions) != attempt;

    /// <summary>Everything has come to a halt: the VM stays paused until it is resumed.</summary>
    /// <returns><see langword="false"/> if it was resumed meanwhile.</returns>
    public bool TryConfirm(long attempt)
    {
        lock (_monitor)
        {
            if (_resumptions != attempt)
            {
                return false;
            }

            _attempts--;
            return _hasSucceeded = true;
        }
    }

    /// <summary>Ends an attempt that has failed: the VM goes on, unless someone else has paused it.</summary>
    public void Withdraw(long attempt)
    {
        lock (_monitor)
        {
            if (_resumptions != attempt)
            {
                return;
            }

            _attempts--;
            if (_hasSucceeded || _attempts != 0)
            {
                return;
            }

            Continue();
        }

        Released();
    }

    /// <summary>The VM goes on, however many pauses there were.</summary>
    public void Resume()
    {
        lock (_monitor)
        {
            _resumptions++;
            _attempts = 0;
            _hasSucceeded = false;
            Continue();
        }

        Released();
    }

    /// <summary>The VM is reset or disposed of: what belongs to its retired drivers is not held any more. Retire the
    /// present one afterwards.</summary>
    public void BeginEnding() => _ = Interlocked.Increment(ref _endings);

    /// <summary>The drivers of the VM that is reset or disposed of are retired.</summary>
    public void Release()
    {
        lock (_monitor)
        {
            Monitor.PulseAll(_monitor);
        }

        Released();
    }

    /// <summary>The reset is over.</summary>
    public void EndEnding() => _ = Interlocked.Decrement(ref _endings);

    /// <summary>Begins work in the backend for which there is no call slot, or work for no driver.</summary>
    /// <returns><see langword="false"/> if it is held.</returns>
    public bool TryEnter(DriverInstance? driverInstance)
    {
        _ = Interlocked.Increment(ref _working);
        if (!(driverInstance is null ? _isPaused : Holds(driverInstance)))
        {
            return true;
        }

        Exit();
        return false;
    }

    /// <summary>Begins work in the backend for which there is no call slot, when it may.</summary>
    public void Enter(DriverInstance driverInstance)
    {
        while (!TryEnter(driverInstance))
        {
            WaitUntilReleased(driverInstance);
        }
    }

    /// <summary>Ends what <see cref="TryEnter"/> or <see cref="Enter"/> has begun.</summary>
    public void Exit() => _ = Interlocked.Decrement(ref _working);

    /// <summary>Blocks the thread while what belongs to a driver instance is held.</summary>
    public void WaitUntilReleased(DriverInstance driverInstance)
    {
        lock (_monitor)
        {
            while (Holds(driverInstance))
            {
                _ = Monitor.Wait(_monitor);
            }
        }
    }

    private void Continue()
    {
        _isPaused = false;
        Interlocked.MemoryBarrier();
        Monitor.PulseAll(_monitor);
    }
}
