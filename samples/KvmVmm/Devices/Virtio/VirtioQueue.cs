using OpTeeMediator.Memory;

namespace KvmVmm.Devices.Virtio;

/// <summary>A split virtqueue, of which the guest's driver decides where it lies (VIRTIO 1.2, 2.7).</summary>
/// <remarks>
/// Each number of the guest's is read once. What makes no sense (an index that is none, a chain that is longer than the
/// queue, memory that is none) ends the queue's use: it is broken until the driver resets the device. Belongs to one
/// thread at a time.
/// </remarks>
internal sealed class VirtioQueue(IGuestMemory memory)
{
    /// <summary>The most descriptors that a queue has.</summary>
    public const int MaximumSize = 128;

    private const int DescriptorSize = 16;
    private const ushort HasNext = 1;
    private const ushort IsWritable = 2;
    private const ushort NoInterrupt = 1;

    private readonly VirtioSegment[] _segments = new VirtioSegment[MaximumSize];
    private ushort _nextAvailable;
    private ushort _nextUsed;

    /// <summary>The number of descriptors: a power of two, up to <see cref="MaximumSize"/>.</summary>
    public int Size { get; set; }

    /// <summary>Where the descriptors lie.</summary>
    public ulong Descriptors { get; set; }

    /// <summary>Where the driver says which chains are available.</summary>
    public ulong Available { get; set; }

    /// <summary>Where the device says which chains are used.</summary>
    public ulong Used { get; set; }

    /// <summary>Whether the driver has set the queue up.</summary>
    public bool IsReady { get; set; }

    /// <summary>Whether the driver has done something that makes no sense.</summary>
    public bool IsBroken { get; private set; }

    /// <summary>Whether the driver wants an interrupt for used chains.</summary>
    public bool WantsInterrupt => !memory.TryRead(Available, out ushort flags) || (flags & NoInterrupt) == 0;

    /// <summary>Drops what the driver has set up.</summary>
    public void Reset()
    {
        (Size, Descriptors, Available, Used) = (0, 0, 0, 0);
        (_nextAvailable, _nextUsed) = (0, 0);
        (IsReady, IsBroken) = (false, false);
    }

    /// <summary>Writes what the driver has set up, and how far the queue is.</summary>
    public void Save(BinaryWriter writer)
    {
        writer.Write(Size);
        writer.Write(Descriptors);
        writer.Write(Available);
        writer.Write(Used);
        writer.Write(IsReady);
        writer.Write(IsBroken);
        writer.Write(_nextAvailable);
        writer.Write(_nextUsed);
    }

    /// <summary>Restores what was saved.</summary>
    /// <exception cref="InvalidDataException">It makes no sense.</exception>
    public void Restore(BinaryReader reader)
    {
        int size = reader.ReadInt32();
        (Descriptors, Available, Used) = (reader.ReadUInt64(), reader.ReadUInt64(), reader.ReadUInt64());
        (IsReady, IsBroken) = (reader.ReadBoolean(), reader.ReadBoolean());
        (_nextAvailable, _nextUsed) = (reader.ReadUInt16(), reader.ReadUInt16());
        if (size is < 0 or > MaximumSize || (size != 0 && !int.IsPow2(size)) || (IsReady && size == 0))
        {
            throw new InvalidDataException($"The saved state has a queue of {size} descriptors.");
        }

        Size = size;
    }

    /// <summary>Takes the next chain.</summary>
    /// <param name="head">Its number, for <see cref="Return"/>.</param>
    /// <param name="segments">Its pieces of guest memory, valid until the next call.</param>
    /// <returns>Whether there is one.</returns>
    public bool TryTake(out ushort head, out ReadOnlySpan<VirtioSegment> segments)
    {
        head = 0;
        segments = default;
        if (!IsReady || IsBroken)
        {
            return false;
        }

        bool isRead = memory.TryRead(Available + 2, out ushort available);
        if (!isRead || (ushort)(available - _nextAvailable) > Size)
        {
            IsBroken = true;
            return false;
        }

        if (available == _nextAvailable)
        {
            return false;
        }

        // What the index announces is read after it.
        Interlocked.MemoryBarrier();
        ulong entry = Available + 4 + ((ulong)(_nextAvailable % Size) * sizeof(ushort));
        if (!memory.TryRead(entry, out head) || !TryReadChain(head, out int count))
        {
            IsBroken = true;
            return false;
        }

        _nextAvailable++;
        segments = _segments.AsSpan(0, count);
        return true;
    }

    /// <summary>Gives a chain back.</summary>
    /// <param name="head">Its number.</param>
    /// <param name="written">How many bytes were written into it.</param>
    public void Return(ushort head, uint written)
    {
        ulong entry = Used + 4 + ((ulong)(_nextUsed % Size) * sizeof(ulong));
        bool isWritten = memory.TryWrite(entry, head | ((ulong)written << 32));
        Interlocked.MemoryBarrier();
        _nextUsed++;
        IsBroken |= !isWritten || !memory.TryWrite(Used + 2, _nextUsed);
    }

    private bool TryReadChain(ushort head, out int count)
    {
        count = 0;
        ushort index = head;
        while (count < Size && index < Size)
        {
            ulong descriptor = Descriptors + ((ulong)index * DescriptorSize);
            if (!memory.TryRead(descriptor, out ulong address) || !memory.TryRead(descriptor + 8, out ulong rest))
            {
                return false;
            }

            ushort flags = (ushort)(rest >> 32);
            _segments[count++] = new VirtioSegment(address, (uint)rest, (flags & IsWritable) != 0);
            if ((flags & HasNext) == 0)
            {
                return true;
            }

            index = (ushort)(rest >> 48);
        }

        return false;
    }
}
