using OpTeeMediator.Remote.Framing;

namespace OpTeeMediator.Remote.Server;

/// <summary>The registered buffers of a VM, by the numbers that its client gives them.</summary>
/// <remarks>Thread-safe: the connection's thread looks up, operations free.</remarks>
/// <param name="limits">How many there may be, and of how many pieces all together.</param>
internal sealed class HostedBuffers(ProtocolLimits limits)
{
    private readonly Dictionary<uint, HostedMemory> _buffers = [];
    private readonly HashSet<uint> _pending = [];
    private readonly Stack<HostedMemory> _spare = [];
    private readonly Lock _lock = new();
    private int _pieces;

    /// <summary>How many pieces further buffers may have.</summary>
    public int FreePieces => limits.Ranges - Volatile.Read(ref _pieces);

    /// <summary>A buffer to be described and reserved.</summary>
    public HostedMemory Rent()
    {
        lock (_lock)
        {
            return _spare.TryPop(out HostedMemory? memory) ? memory : new HostedMemory(isTemporary: false);
        }
    }

    /// <summary>Takes a number for a buffer that is being registered.</summary>
    /// <exception cref="ProtocolException">It is taken, or too high.</exception>
    public void Reserve(uint number, HostedMemory memory)
    {
        lock (_lock)
        {
            if (number >= (uint)limits.Buffers || _buffers.ContainsKey(number) || !_pending.Add(number))
            {
                throw new ProtocolException($"the registration of buffer {number}, a number that is taken");
            }

            _pieces += memory.PieceCount;
        }
    }

    /// <summary>The registration has succeeded: operations may use the buffer.</summary>
    public void Commit(uint number, HostedMemory memory)
    {
        lock (_lock)
        {
            _ = _pending.Remove(number);
            _buffers.Add(number, memory);
        }
    }

    /// <summary>The buffer is registered no more, or was refused.</summary>
    public void Free(uint number, HostedMemory memory)
    {
        lock (_lock)
        {
            _ = _pending.Remove(number);
            _pieces -= memory.PieceCount;
            _spare.Push(memory);
        }
    }

    /// <summary>Finds a registered buffer.</summary>
    /// <exception cref="ProtocolException">There is none of this number.</exception>
    public HostedMemory Find(uint number)
    {
        lock (_lock)
        {
            return _buffers.TryGetValue(number, out HostedMemory? memory)
                ? memory
                : throw new ProtocolException($"buffer {number}, which is not registered");
        }
    }

    /// <summary>Takes a buffer out that is to be unregistered; its number is taken until <see cref="Free"/>.</summary>
    /// <exception cref="ProtocolException">There is none, or it is in use.</exception>
    public HostedMemory Take(uint number)
    {
        HostedMemory memory = Find(number);
        if (memory.IsUsed)
        {
            throw new ProtocolException($"the end of buffer {number}, which an operation uses");
        }

        lock (_lock)
        {
            _ = _buffers.Remove(number);
            _ = _pending.Add(number);
        }

        return memory;
    }

    /// <summary>Takes any buffer out.</summary>
    public HostedMemory? TakeAny()
    {
        lock (_lock)
        {
            foreach ((uint number, HostedMemory memory) in _buffers)
            {
                _ = _buffers.Remove(number);
                return memory;
            }

            return null;
        }
    }
}
