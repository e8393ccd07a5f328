namespace KvmVmm.HostConsole;

/// <summary>Bytes on their way from one thread to another.</summary>
/// <remarks>Thread-safe.</remarks>
internal sealed class ByteQueue(int capacity)
{
    private readonly byte[] _ring = new byte[capacity];
    private readonly object _gate = new();
    private int _start;
    private volatile int _count;
    private volatile bool _isClosed;

    /// <summary>Whether it holds nothing.</summary>
    public bool IsEmpty => _count == 0;

    /// <summary>Whether it takes nothing more.</summary>
    public bool IsClosed => _isClosed;

    /// <summary>Adds bytes; waits while there is no room. Once closed it drops them.</summary>
    /// <param name="bytes">The bytes, at most the capacity.</param>
    public void Add(ReadOnlySpan<byte> bytes)
    {
        lock (_gate)
        {
            while (_count + bytes.Length > _ring.Length && !_isClosed)
            {
                _ = Monitor.Wait(_gate);
            }

            if (_isClosed)
            {
                return;
            }

            foreach (byte value in bytes)
            {
                _ring[(_start + _count) % _ring.Length] = value;
                _count++;
            }

            Monitor.PulseAll(_gate);
        }
    }

    /// <summary>Waits until there is room, or until it is closed.</summary>
    /// <returns>How many bytes it takes without a wait; 0 if it is closed.</returns>
    public int WaitForRoom()
    {
        lock (_gate)
        {
            while (_count == _ring.Length && !_isClosed)
            {
                _ = Monitor.Wait(_gate);
            }

            return _isClosed ? 0 : _ring.Length - _count;
        }
    }

    /// <summary>Adds bytes before all others; those for which there is no room are dropped.</summary>
    /// <param name="bytes">The bytes.</param>
    public void Prepend(ReadOnlySpan<byte> bytes)
    {
        lock (_gate)
        {
            bytes = bytes[..Math.Min(bytes.Length, _ring.Length - _count)];
            _start = (_start - bytes.Length + _ring.Length) % _ring.Length;
            for (int index = 0; index < bytes.Length; index++)
            {
                _ring[(_start + index) % _ring.Length] = bytes[index];
            }

            _count += bytes.Length;
            Monitor.PulseAll(_gate);
        }
    }

    /// <summary>Copies what it holds.</summary>
    /// <returns>The bytes, the oldest one first.</returns>
    public byte[] ToArray()
    {
        lock (_gate)
        {
            byte[] bytes = new byte[_count];
            for (int index = 0; index < bytes.Length; index++)
            {
                bytes[index] = _ring[(_start + index) % _ring.Length];
            }

            return bytes;
        }
    }

    /// <summary>Takes the oldest byte.</summary>
    /// <param name="next">The byte.</param>
    /// <returns>Whether there was one.</returns>
    public bool TryTake(out byte next)
    {
        Span<byte> single = stackalloc byte[1];
        lock (_gate)
        {
            bool isTaken = TakeLocked(single) == 1;
            next = single[0];
            return isTaken;
        }
    }

    /// <summary>Waits until there is something, and takes as much as fits.</summary>
    /// <param name="destination">Receives the bytes.</param>
    /// <returns>How many; 0 if the queue is closed and empty.</returns>
    public int WaitAndTake(Span<byte> destination)
    {
        lock (_gate)
        {
            while (_count == 0 && !_isClosed)
            {
                _ = Monitor.Wait(_gate);
            }

            return TakeLocked(destination);
        }
    }

    /// <summary>Takes no more bytes; those that it holds can still be taken.</summary>
    public void Close()
    {
        lock (_gate)
        {
            _isClosed = true;
            Monitor.PulseAll(_gate);
        }
    }

    private int TakeLocked(Span<byte> destination)
    {
        int length = Math.Min(_count, destination.Length);
        for (int index = 0; index < length; index++)
        {
            destination[index] = _ring[_start];
            _start = (_start + 1) % _ring.Length;
        }

        _count -= length;
        if (length > 0)
        {
            Monitor.PulseAll(_gate);
        }

        return length;
    }
}
