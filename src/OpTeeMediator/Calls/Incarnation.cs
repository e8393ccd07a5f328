using OpTeeMediator.SharedMemory;

namespace OpTeeMediator.Calls;

/// <summary>One life of a guest's driver: its sessions and its shared memory. It ends with the driver, the guest or the VM.</summary>
internal sealed class Incarnation(int sessionCapacity, int bufferCapacity)
{
    private volatile bool _isRetired;

    /// <summary>Memory for RPC messages that waits for the next call.</summary>
    public RpcBufferCache RpcBuffers { get; } = new();

    /// <summary>Guards both tables.</summary>
    public ChangeGate Gate { get; } = new();

    public SessionTable Sessions { get; } = new(sessionCapacity);

    public SharedMemoryTable Memory { get; } = new(bufferCapacity);

    /// <summary>Whether it is over: no new calls, and those in flight are not answered any more.</summary>
    public bool IsRetired => _isRetired;

    public bool IsEmpty
    {
        get
        {
            using (Gate.Enter())
            {
                return Sessions.Count == 0 && Memory.Count == 0 && RpcBuffers.IsEmpty;
            }
        }
    }

    public void Retire()
    {
        using (Gate.Enter())
        {
            _isRetired = true;
        }
    }
}
