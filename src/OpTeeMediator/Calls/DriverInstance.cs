using OpTeeMediator.SharedMemory;

namespace OpTeeMediator.Calls;

/// <summary>A guest's driver from its start to its end, or the VM's: its sessions and its shared memory.</summary>
/// <remarks>Used again for a later driver once it is torn down, so that a guest that starts its driver again and again
/// costs no memory. Session ids go on from those of the earlier driver. A call that found this object in its earlier
/// life sees that it is retired, or belongs to the later driver.</remarks>
internal sealed class DriverInstance(int sessionCapacity, int bufferCapacity)
{
    private readonly ManualResetEventSlim _freed = new(false);
    private volatile bool _isRetired;

    /// <summary>Memory for RPC messages that waits for the next call.</summary>
    public RpcBufferCache RpcBuffers { get; } = new();

    /// <summary>Guards both tables.</summary>
    public SequenceLock TablesLock { get; } = new();

    public SessionTable Sessions { get; } = new(sessionCapacity);

    public SharedMemoryTable Memory { get; } = new(bufferCapacity);

    /// <summary>Whether it is over: no new calls, and those in flight are not answered any more.</summary>
    public bool IsRetired => _isRetired;

    public bool IsEmpty
    {
        get
        {
            using SequenceLock.Scope scope = TablesLock.Enter();
            return Sessions.Count == 0 && Memory.Count == 0 && RpcBuffers.IsEmpty;
        }
    }

    public void Retire()
    {
        _freed.Reset();
        using SequenceLock.Scope scope = TablesLock.Enter();
        _isRetired = true;
    }

    /// <summary>All that the driver had is freed.</summary>
    public void NotifyFreed() => _freed.Set();

    public bool WaitUntilFreed(TimeSpan atMost) => _freed.Wait(atMost);

    /// <summary>Becomes the instance of a later driver.</summary>
    public void Reuse()
    {
        RpcBuffers.Clear();
        using SequenceLock.Scope scope = TablesLock.Enter();
        _isRetired = false;
    }
}
