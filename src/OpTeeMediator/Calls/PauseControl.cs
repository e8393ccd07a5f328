using OpTeeMediator.Vmm;

namespace OpTeeMediator.Calls;

/// <summary>Whether the VM is paused, and who is at work in the backend without a call slot of its own.</summary>
/// <remarks>Resetting and disposing of the VM are not held; see <see cref="BeginEnding"/>. Thread-safe.</remarks>
internal sealed class PauseControl : VmPause
{
    private volatile int _endings;

    /// <summary>Whether the VM is being reset or disposed of.</summary>
    public bool IsEnding => _endings != 0;

    /// <summary>Whether what belongs to a driver instance may not go on.</summary>
    public bool Holds(DriverInstance driverInstance) => IsPaused && !(_endings != 0 && driverInstance.IsRetired);

    /// <summary>The VM is reset or disposed of: retired drivers are not held. Then retire the present one.</summary>
    public void BeginEnding() => _ = Interlocked.Increment(ref _endings);

    /// <summary>The drivers of the VM that is reset or disposed of are retired.</summary>
    public void Release()
    {
        lock (Waiting)
        {
            Monitor.PulseAll(Waiting);
        }

        Released();
    }

    /// <summary>The reset is over.</summary>
    public void EndEnding() => _ = Interlocked.Decrement(ref _endings);

    /// <summary>Begins work in the backend for which there is no call slot, or work for no driver.</summary>
    /// <returns><see langword="false"/> if it is held.</returns>
    public bool TryEnter(DriverInstance? driverInstance)
    {
        EnterUnheld();
        if (!(driverInstance is null ? IsPaused : Holds(driverInstance)))
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

    /// <summary>Blocks the thread while what belongs to a driver instance is held.</summary>
    public void WaitUntilReleased(DriverInstance driverInstance)
    {
        lock (Waiting)
        {
            while (Holds(driverInstance))
            {
                _ = Monitor.Wait(Waiting);
            }
        }
    }
}
