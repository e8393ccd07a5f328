using System.Diagnostics;

namespace OpTeeMediator.Vmm;

/// <summary>Whether a VM is paused, and how many threads are at work in its TEE.</summary>
/// <remarks>
/// <para>Who begins to work in the TEE says so first, then a full fence, then looks whether the VM is paused. Who
/// pauses it does the two in the opposite order. So each work is either held, or seen and waited for.</para>
/// <para>Several attempts may go on at a time; one <see cref="Resume"/> ends all pauses. Thread-safe.</para>
/// </remarks>
internal class VmPause
{
    // What _held says: nothing may go on; and, only, nothing new may begin.
    private const int Paused = 1;
    private const int Draining = 2;

    private volatile int _held;
    private bool _hasSucceeded;
    private int _attempts;
    private long _resumptions;
    private int _working;

    /// <summary>Called, on the thread that ends it, after a pause: what was held may go on.</summary>
    public Action Released { get; set; } = static () => { };

    /// <summary>Whether nothing may begin or go on.</summary>
    public bool IsPaused => (_held & Paused) != 0;

    /// <summary>Whether no operation may begin.</summary>
    public bool HoldsNew => _held != 0;

    /// <summary>Whether no one is at work between <see cref="TryEnter"/> and <see cref="Exit"/>.</summary>
    public bool IsQuiet => Volatile.Read(ref _working) == 0;

    /// <summary>The lock of the pause's state, pulsed when something that was held may go on.</summary>
    protected object Waiting { get; } = new();

    /// <summary>Lets nothing new begin until <see cref="Resume"/>, and waits until what has begun is over. Fails,
    /// without effect, if the time is over or the VM was resumed meanwhile.</summary>
    public async Task<bool> DrainAsync(Func<bool> isDrained, TimeSpan deadline, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        long resumptions = BeginDrain();
        long start = Stopwatch.GetTimestamp();
        try
        {
            while (!isDrained())
            {
                if (IsOver(resumptions))
                {
                    return false;
                }

                if (Stopwatch.GetElapsedTime(start) > deadline)
                {
                    EndDrain(resumptions);
                    return false;
                }

                await Task.Delay(1, cancellationToken);
            }
        }
        catch
        {
            EndDrain(resumptions);
            throw;
        }

        return !IsOver(resumptions);
    }

    /// <summary>Pauses the VM: waits until everything has come to a halt. Fails, without effect, if the time is over or
    /// the VM was resumed meanwhile.</summary>
    public async Task<bool> PauseAsync(Func<bool> isQuiet, TimeSpan deadline, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        long attempt = Attempt();
        long start = Stopwatch.GetTimestamp();
        try
        {
            while (!isQuiet())
            {
                if (IsOver(attempt))
                {
                    return false;
                }

                if (Stopwatch.GetElapsedTime(start) > deadline)
                {
                    Withdraw(attempt);
                    return false;
                }

                await Task.Delay(1, cancellationToken);
            }
        }
        catch
        {
            Withdraw(attempt);
            throw;
        }

        return TryConfirm(attempt);
    }

    /// <summary>Pauses the VM until <see cref="TryConfirm"/> or <see cref="Withdraw"/> ends the attempt.</summary>
    public long Attempt()
    {
        lock (Waiting)
        {
            _attempts++;
            _held |= Paused;
            Interlocked.MemoryBarrier();
            return _resumptions;
        }
    }

    public bool IsOver(long attempt) => Volatile.Read(ref _resumptions) != attempt;

    /// <summary>Everything has come to a halt: the VM stays paused; fails if it was resumed meanwhile.</summary>
    public bool TryConfirm(long attempt)
    {
        lock (Waiting)
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
        lock (Waiting)
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

            Continue(Paused);
        }

        Released();
    }

    public void Resume()
    {
        lock (Waiting)
        {
            _resumptions++;
            _attempts = 0;
            _hasSucceeded = false;
            Continue(Paused | Draining);
        }

        Released();
    }

    /// <summary>Begins work in the TEE, until <see cref="Exit"/>; fails if it is held.</summary>
    public bool TryEnter()
    {
        EnterUnheld();
        if (!IsPaused)
        {
            return true;
        }

        Exit();
        return false;
    }

    /// <summary>Begins work in the TEE that a pause waits for but does not hold.</summary>
    public void EnterUnheld() => _ = Interlocked.Increment(ref _working);

    public void Exit() => _ = Interlocked.Decrement(ref _working);

    /// <summary>Blocks the thread while the VM is paused, for a time at most.</summary>
    public void WaitUntilReleased(TimeSpan atMost)
    {
        long start = Stopwatch.GetTimestamp();
        lock (Waiting)
        {
            while (IsPaused && atMost - Stopwatch.GetElapsedTime(start) is { Ticks: > 0 } left)
            {
                _ = Monitor.Wait(Waiting, WholeMilliseconds.AtLeast(left));
            }
        }
    }

    private long BeginDrain()
    {
        lock (Waiting)
        {
            _held |= Draining;
            Interlocked.MemoryBarrier();
            return _resumptions;
        }
    }

    private void EndDrain(long resumptions)
    {
        lock (Waiting)
        {
            if (_resumptions != resumptions)
            {
                return;
            }

            Continue(Draining);
        }

        Released();
    }

    private void Continue(int released)
    {
        _held &= ~released;
        Interlocked.MemoryBarrier();
        Monitor.PulseAll(Waiting);
    }
}
