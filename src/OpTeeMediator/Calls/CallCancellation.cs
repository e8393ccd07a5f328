using OpTeeMediator.Backends;

namespace OpTeeMediator.Calls;

/// <summary>The cancellation of a call's operation: asked for by the client, by the end of its driver or of the VM, and
/// told to the backend once.</summary>
/// <remarks>An operation that has not begun sees the request when it begins; one that has ended is left alone; only one
/// that runs is told. While the VM is paused, the backend is told afterwards.</remarks>
internal sealed class CallCancellation(
    TeeRequest request, CallOperation operation, PauseControl pause, BackendOperations backend)
{
    private int _cancellers;
    private int _isCancelDelivered;
    private int _isTerminationDelivered;

    public bool HasCancellers => Volatile.Read(ref _cancellers) != 0;

    /// <summary>A thread looks whether it is to cancel the call: it is not released before
    /// <see cref="Leave"/>, so that the request stays the same one. A full fence.</summary>
    public void Enter() => _ = Interlocked.Increment(ref _cancellers);

    public void Leave() => _ = Interlocked.Decrement(ref _cancellers);

    /// <summary>Waits until those are gone that found the call before it was released.</summary>
    public void WaitForCancellers()
    {
        SpinWait spin = default;
        while (HasCancellers)
        {
            spin.SpinOnce();
        }
    }

    public void Clear()
    {
        _isCancelDelivered = 0;
        _isTerminationDelivered = 0;
        request.ResetCancellation();
    }

    /// <summary>The client wants the operation to end early.</summary>
    public void Request(DriverInstance driverInstance)
    {
        if (request.RequestCancellation() && operation.IsAtBackend)
        {
            Cancel(driverInstance);
        }
    }

    /// <summary>The driver that made the call is retired, and perhaps the VM is reset or disposed of.</summary>
    public void End(DriverInstance driverInstance)
    {
        if (!pause.TryEnter(driverInstance))
        {
            return;
        }

        if (!pause.IsEnding)
        {
            Request(driverInstance);
        }
        else if (request.RequestTermination() && operation.IsAtBackend)
        {
            Terminate();
        }

        pause.Exit();
    }

    /// <summary>Tells the backend of a cancellation, or of the VM's end, that came while it began an operation on a
    /// vCPU's thread, which goes on elsewhere.</summary>
    /// <remarks>The parameters say what the operation was told as it began. A worker's operation needs no such look:
    /// between <see cref="CallOperation.Begin"/> and its first instruction is a full fence
    /// (<see cref="OnDemandThread.Post"/>), so that the operation sees the request or the canceller sees the
    /// operation. Where the phase is no longer Working, the swap that has changed it is that fence.</remarks>
    public void Deliver(DriverInstance driverInstance, bool wasCancelled, bool wasTerminated)
    {
        if (operation.Phase == OperationPhase.Working)
        {
            Interlocked.MemoryBarrier();
        }

        if (!wasCancelled && request.IsCancellationRequested)
        {
            Cancel(driverInstance);
        }

        if (!wasTerminated && request.IsTerminationRequested)
        {
            Terminate();
        }
    }

    /// <summary>The VM was resumed, or is being reset or disposed of: tells what the pause has put off.</summary>
    public void GoOnAfterPause(DriverInstance driverInstance)
    {
        if (driverInstance.IsRetired)
        {
            End(driverInstance);
        }

        if (request.IsCancellationRequested && operation.IsAtBackend)
        {
            Cancel(driverInstance);
        }
    }

    private void Cancel(DriverInstance driverInstance)
    {
        if (!pause.TryEnter(driverInstance))
        {
            return;
        }

        if (operation.Kind is (TeeOperation.InvokeCommand or TeeOperation.OpenSession)
            && Interlocked.Exchange(ref _isCancelDelivered, 1) == 0)
        {
            backend.Cancel(request, operation.Kind);
        }

        pause.Exit();
    }

    private void Terminate()
    {
        if (operation.Kind is (TeeOperation.InvokeCommand or TeeOperation.OpenSession or TeeOperation.CloseSession)
            && Interlocked.Exchange(ref _isTerminationDelivered, 1) == 0)
        {
            backend.Cancel(request, operation.Kind);
        }
    }
}
