using System.Buffers.Binary;
using KvmVmm.Machine;
using OpTeeMediator.Memory;

namespace KvmVmm.Devices.Virtio;

/// <summary>A disk over a file of the host (VIRTIO 1.2, 5.2 "Block Device").</summary>
/// <param name="file">The file.</param>
/// <param name="memory">The guest's memory.</param>
internal sealed class VirtioDisk(DiskFile file, IGuestMemory memory) : IVirtioDevice
{
    private const int HeaderSize = 16;
    private const int BufferSize = 64 << 10;

    private const uint Read = 0;
    private const uint Write = 1;
    private const uint Flush = 4;
    private const uint GetId = 8;

    private const byte Ok = 0;
    private const byte Failed = 1;
    private const byte Unsupported = 2;

    private readonly byte[] _configuration = MakeConfiguration(file);
    private readonly byte[] _buffer = new byte[BufferSize];

    /// <inheritdoc/>
    public uint Id => 2;

    /// <inheritdoc/>
    public ulong Features
    {
        get
        {
            const ulong SegmentMaximum = 1 << 2;
            const ulong IsReadOnly = 1 << 5;
            const ulong CanFlush = 1 << 9;
            return SegmentMaximum | CanFlush | (file.IsReadOnly ? IsReadOnly : 0);
        }
    }

    /// <inheritdoc/>
    public ReadOnlySpan<byte> Configuration => _configuration;

    /// <inheritdoc/>
    public uint Serve(ReadOnlySpan<VirtioSegment> segments)
    {
        // The last byte that the device may write receives the status.
        int last = segments.Length - 1;
        if (last < 1 || segments[last] is not { IsWritable: true, Length: > 0 } end)
        {
            return 0;
        }

        Span<byte> header = stackalloc byte[HeaderSize];
        if (segments[0] is not { IsWritable: false, Length: HeaderSize } first
            || !memory.TryRead(first.Address, header))
        {
            return Answer(end, 0, Failed);
        }

        ReadOnlySpan<VirtioSegment> data = segments[1..last];
        ulong sector = BinaryPrimitives.ReadUInt64LittleEndian(header[8..]);
        uint written = 0;
        byte status;
        try
        {
            status = BinaryPrimitives.ReadUInt32LittleEndian(header) switch
            {
                Read => Transfer(data, sector, toGuest: true, ref written),
                Write when !file.IsReadOnly => Transfer(data, sector, toGuest: false, ref written),
                Write => Failed,
                Flush => FlushFile(),
                GetId => WriteId(data, ref written),
                _ => Unsupported,
            };
        }
        catch (IOException)
        {
            status = Failed;
        }

        return Answer(end, written, status);
    }

    private uint Answer(VirtioSegment end, uint written, byte status) =>
        memory.TryWrite(end.Address + end.Length - 1, status) ? written + end.Length : 0;

    private byte Transfer(ReadOnlySpan<VirtioSegment> data, ulong sector, bool toGuest, ref uint written)
    {
        ulong length = 0;
        foreach (VirtioSegment segment in data)
        {
            length += segment.Length;
        }

        ulong size = (ulong)file.Length;
        if (length % DiskFile.SectorSize != 0 || sector > size / DiskFile.SectorSize
            || length > size - (sector * DiskFile.SectorSize))
        {
            return Failed;
        }

        long position = (long)(sector * DiskFile.SectorSize);
        foreach (VirtioSegment segment in data)
        {
            if (segment.IsWritable != toGuest || !TryTransfer(segment, position))
            {
                return Failed;
            }

            position += segment.Length;
            written += toGuest ? segment.Length : 0;
        }

        return Ok;
    }

    private bool TryTransfer(VirtioSegment segment, long position)
    {
        for (uint done = 0; done < segment.Length;)
        {
            Span<byte> part = _buffer.AsSpan(0, (int)Math.Min(BufferSize, segment.Length - done));
            GuestAddress address = segment.Address + done;
            if (segment.IsWritable)
            {
                file.Read(part, position + done);
                if (!memory.TryWrite(address, part))
                {
                    return false;
                }
            }
            else
            {
                if (!memory.TryRead(address, part))
                {
                    return false;
                }

                file.Write(part, position + done);
            }

            done += (uint)part.Length;
        }

        return true;
    }

    private byte FlushFile()
    {
        file.Flush();
        return Ok;
    }

    private byte WriteId(ReadOnlySpan<VirtioSegment> data, ref uint written)
    {
        ReadOnlySpan<byte> id = "kvmvmm-disk\0\0\0\0\0\0\0\0\0"u8;
        if (data is not [{ IsWritable: true } segment] || segment.Length < id.Length
            || !memory.TryWrite(segment.Address, id))
        {
            return Failed;
        }

        written = (uint)id.Length;
        return Ok;
    }

    private static byte[] MakeConfiguration(DiskFile file)
    {
        byte[] configuration = new byte[24];
        BinaryPrimitives.WriteInt64LittleEndian(configuration, file.Length / DiskFile.SectorSize);

        // A request has a header and a status beside its data.
        BinaryPrimitives.WriteInt32LittleEndian(configuration.AsSpan(12), VirtioQueue.MaximumSize - 2);
        return configuration;
    }
}
