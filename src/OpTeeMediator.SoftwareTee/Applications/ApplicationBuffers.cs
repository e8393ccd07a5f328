using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Operations;

namespace OpTeeMediator.SoftwareTee.Applications;

/// <summary>The buffers of an instance. Thread-safe.</summary>
/// <param name="quota">What the VM's applications may allocate.</param>
internal sealed class ApplicationBuffers(MemoryQuota quota)
{
    // What a buffer costs beside its bytes, so that many empty ones are no way around the quota.
    private const int Overhead = 128;

    private readonly Lock _lock = new();
    private readonly HashSet<ApplicationBuffer> _buffers = [];
    private bool _isReleased;

    public TeeReturnCode Allocate(int size, out ApplicationBuffer? buffer)
    {
        buffer = null;
        if (!quota.TryTake((long)size + Overhead))
        {
            return TeeReturnCode.OutOfMemory;
        }

        try
        {
            buffer = new ApplicationBuffer(this, new byte[size]);
        }
        catch (OutOfMemoryException)
        {
            quota.Return((long)size + Overhead);
            return TeeReturnCode.OutOfMemory;
        }

        lock (_lock)
        {
            if (!_isReleased)
            {
                _ = _buffers.Add(buffer);
                return TeeReturnCode.Success;
            }
        }

        // What a dead instance still does.
        quota.Return((long)size + Overhead);
        buffer = null;
        return TeeReturnCode.OutOfMemory;
    }

    /// <summary>A buffer was released.</summary>
    public void Remove(ApplicationBuffer buffer)
    {
        lock (_lock)
        {
            _ = _buffers.Remove(buffer);
        }

        quota.Return((long)buffer.Size + Overhead);
    }

    /// <summary>The instance has ended: releases what it has left.</summary>
    public void ReleaseAll()
    {
        ApplicationBuffer[] left;
        lock (_lock)
        {
            _isReleased = true;
            left = [.. _buffers];
        }

        foreach (ApplicationBuffer buffer in left)
        {
            buffer.Dispose();
        }
    }
}
