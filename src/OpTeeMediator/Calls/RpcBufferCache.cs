using OpTeeMediator.State;

namespace OpTeeMediator.Calls;

/// <summary>Memory for RPC messages that a guest without RPC_ARG leaves with the TEE between calls.</summary>
/// <remarks>Never more than there were calls at a time: a call takes one before it asks. Thread-safe.</remarks>
internal sealed class RpcBufferCache
{
    private readonly Lock _lock = new();
    private readonly Stack<RpcBuffer> _buffers = new();
    private bool _isEnabled;

    public bool IsEmpty
    {
        get
        {
            lock (_lock)
            {
                return _buffers.Count == 0;
            }
        }
    }

    /// <summary>Drops all, for a later driver: the memory is the guest's, and an earlier driver's.</summary>
    public void Clear()
    {
        lock (_lock)
        {
            _buffers.Clear();
            _isEnabled = false;
        }
    }

    public void Save(StateWriter writer)
    {
        lock (_lock)
        {
            writer.WriteBoolean(_isEnabled);
            writer.WriteCount(_buffers.Count);
            foreach (RpcBuffer buffer in _buffers)
            {
                buffer.Save(writer);
            }
        }
    }

    public void Restore(StateReader reader, int atMost)
    {
        lock (_lock)
        {
            _isEnabled = reader.ReadBoolean();
            RpcBuffer[] buffers = new RpcBuffer[reader.ReadCount(atMost, "cached RPC buffers")];
            for (int index = 0; index < buffers.Length; index++)
            {
                buffers[index] = RpcBuffer.Restore(reader);
            }

            // The last one that was put back is the next to be taken.
            for (int index = buffers.Length - 1; index >= 0; index--)
            {
                _buffers.Push(buffers[index]);
            }
        }
    }

    /// <summary>ENABLE_SHM_CACHE.</summary>
    public void Enable()
    {
        lock (_lock)
        {
            _isEnabled = true;
        }
    }

    /// <summary>DISABLE_SHM_CACHE: takes one out to be given back; if there is none, none is kept any more.</summary>
    public bool TryEmpty(out RpcBuffer buffer)
    {
        lock (_lock)
        {
            bool isFound = _buffers.TryPop(out buffer);
            _isEnabled &= isFound;
            return isFound;
        }
    }

    public bool TryTake(out RpcBuffer buffer)
    {
        lock (_lock)
        {
            return _buffers.TryPop(out buffer);
        }
    }

    /// <summary>Keeps memory for the next call, unless the guest wants it back with the call.</summary>
    public bool TryKeep(RpcBuffer buffer)
    {
        lock (_lock)
        {
            if (_isEnabled)
            {
                _buffers.Push(buffer);
            }

            return _isEnabled;
        }
    }
}
