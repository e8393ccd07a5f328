using System.Buffers;
using System.Buffers.Binary;
using System.Diagnostics;
using System.IO.Pipelines;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Remote.Framing;

/// <summary>Sends and receives frames, and descriptors with them, over a connected Unix socket.</summary>
/// <remarks>
/// One thread receives, and blocks in the kernel for it, so that a frame needs no hand-off; any thread sends. Nothing
/// is allocated for frames that fit a segment of the pipe. The pipe has this one thread on both of its sides, so its
/// flushes and reads complete at once.
/// </remarks>
internal sealed unsafe class FrameChannel : IDisposable
{
    private const int SegmentSize = 16 * 1024;
    private const int PendingDescriptors = 4;

    private readonly Socket _socket;
    private readonly bool _takesDescriptors;
    private readonly Pipe _pipe = new(new PipeOptions(
        readerScheduler: PipeScheduler.Inline,
        writerScheduler: PipeScheduler.Inline,
        pauseWriterThreshold: 0,
        resumeWriterThreshold: 0,
        minimumSegmentSize: SegmentSize,
        useSynchronizationContext: false));

    private readonly Lock _sending = new();
    private readonly Queue<SafeFileHandle> _descriptors = [];
    private ReadOnlySequence<byte> _buffer;
    private SequencePosition _end;
    private byte[] _scattered = [];
    private bool _hasFrame;
    private TimeSpan _receiveTimeout = Timeout.InfiniteTimeSpan;
    private long _receivesSince;
    private volatile bool _isClosed;

    /// <summary>Creates a channel, which owns the socket.</summary>
    /// <param name="socket">A connected socket that blocks.</param>
    /// <param name="takesDescriptors">Whether the peer may send descriptors.</param>
    /// <param name="sendTimeout">How long a frame may wait for a peer that does not read.</param>
    public FrameChannel(Socket socket, bool takesDescriptors, TimeSpan sendTimeout)
    {
        _socket = socket;
        _takesDescriptors = takesDescriptors;
        _socket.SendTimeout = (int)sendTimeout.TotalMilliseconds;
    }

    /// <summary>The longest frame that is received, in bytes.</summary>
    public int MaximumFrame { get; set; } = FrameFormat.HandshakeFrame;

    /// <summary>The VM's number, which frames must have.</summary>
    public uint Partition { get; set; }

    /// <summary>How long, from now on, <see cref="TryReceive"/> waits for bytes, whatever comes meanwhile; or for ever.
    /// </summary>
    public TimeSpan ReceiveTimeout
    {
        set
        {
            _receiveTimeout = value;
            _receivesSince = Stopwatch.GetTimestamp();
            _socket.ReceiveTimeout = WholeMilliseconds.AtLeast(value);
        }
    }

    /// <summary>Receives a frame, and blocks until there is one.</summary>
    /// <param name="header">Its header.</param>
    /// <param name="body">What follows the header; valid until the next call.</param>
    /// <returns><see langword="false"/> if the connection is closed, or the time is over.</returns>
    /// <exception cref="ProtocolException">What was received is no frame.</exception>
    public bool TryReceive(out FrameHeader header, out ReadOnlySpan<byte> body)
    {
        if (_hasFrame)
        {
            _hasFrame = false;
            _pipe.Reader.AdvanceTo(_end);
        }

        while (!TryTakeFrame(out header, out body))
        {
            if (!TryFill())
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Takes the oldest descriptor that has come.</summary>
    /// <exception cref="ProtocolException">There is none.</exception>
    public SafeFileHandle TakeDescriptor() => _descriptors.TryDequeue(out SafeFileHandle? descriptor)
        ? descriptor
        : throw new ProtocolException("a file without its descriptor");

    /// <summary>Sends a frame.</summary>
    /// <returns><see langword="false"/> if the connection is closed, or the peer does not read.</returns>
    public bool TrySend(ReadOnlySpan<byte> frame) => TrySend(frame, null);

    /// <summary>Sends a frame with a descriptor.</summary>
    /// <returns><see langword="false"/> if the connection is closed, or the peer does not read.</returns>
    public bool TrySend(ReadOnlySpan<byte> frame, SafeHandle? descriptor)
    {
        lock (_sending)
        {
            fixed (byte* start = frame)
            {
                int sent = 0;
                while (sent < frame.Length)
                {
                    SafeHandle? attached = sent == 0 ? descriptor : null;
                    nint count = _isClosed ? -1 : Send(start + sent, frame.Length - sent, attached);
                    if (count <= 0)
                    {
                        // Half a frame cannot be taken back.
                        Close();
                        return false;
                    }

                    sent += (int)count;
                }
            }
        }

        return true;
    }

    /// <summary>Sends REFUSED with a message for the peer's operator.</summary>
    public void TrySendRefusal(FrameBuilder frame, string message)
    {
        frame.Begin(FrameType.Refused, Partition, 0);
        StateCodec.WriteText(frame, message);
        _ = TrySend(frame.Frame);
    }

    /// <summary>Ends the connection: receiving and sending return at once.</summary>
    public void Close()
    {
        _isClosed = true;
        try
        {
            _socket.Shutdown(SocketShutdown.Both);
        }
        catch (SocketException)
        {
            // The peer was faster.
        }
        catch (ObjectDisposedException)
        {
            // So was Dispose.
        }
    }

    /// <summary>Frees the socket; on the receiving thread, or after it.</summary>
    public void Dispose()
    {
        Close();
        while (_descriptors.TryDequeue(out SafeFileHandle? descriptor))
        {
            descriptor.Dispose();
        }

        lock (_sending)
        {
            _socket.Dispose();
        }

        _pipe.Writer.Complete();
        _pipe.Reader.Complete();
    }

    private bool TryTakeFrame(out FrameHeader header, out ReadOnlySpan<byte> body)
    {
        header = default;
        body = default;
        if (!_pipe.Reader.TryRead(out ReadResult result))
        {
            return false;
        }

        _buffer = result.Buffer;
        if (_buffer.Length < FrameHeader.Size)
        {
            _pipe.Reader.AdvanceTo(_buffer.Start, _buffer.End);
            return false;
        }

        header = ReadHeader();
        if (_buffer.Length < header.Length)
        {
            _pipe.Reader.AdvanceTo(_buffer.Start, _buffer.End);
            return false;
        }

        ReadOnlySequence<byte> frame = _buffer.Slice(0, header.Length);
        _end = frame.End;
        _hasFrame = true;
        body = ToSpan(frame)[FrameHeader.Size..];
        return true;
    }

    private FrameHeader ReadHeader()
    {
        Span<byte> bytes = stackalloc byte[FrameHeader.Size];
        _buffer.Slice(0, FrameHeader.Size).CopyTo(bytes);
        uint length = BinaryPrimitives.ReadUInt32LittleEndian(bytes);
        ushort type = BinaryPrimitives.ReadUInt16LittleEndian(bytes[4..]);
        ushort reserved = BinaryPrimitives.ReadUInt16LittleEndian(bytes[6..]);
        uint partition = BinaryPrimitives.ReadUInt32LittleEndian(bytes[8..]);
        uint operation = BinaryPrimitives.ReadUInt32LittleEndian(bytes[12..]);
        if (length < FrameHeader.Size || length > (uint)MaximumFrame)
        {
            throw new ProtocolException($"a frame of {length} bytes; {FrameHeader.Size} to {MaximumFrame} are allowed");
        }

        return reserved == 0 && partition == Partition
            ? new FrameHeader((int)length, (FrameType)type, partition, operation)
            : throw new ProtocolException($"a frame for VM {partition} (flags {reserved}); this is VM {Partition}");
    }

    private ReadOnlySpan<byte> ToSpan(ReadOnlySequence<byte> frame)
    {
        if (frame.IsSingleSegment)
        {
            return frame.FirstSpan;
        }

        int length = (int)frame.Length;
        if (_scattered.Length < length)
        {
            _scattered = new byte[length];
        }

        frame.CopyTo(_scattered);
        return _scattered.AsSpan(0, length);
    }

    private bool TryFill()
    {
        Span<byte> free = _pipe.Writer.GetSpan(SegmentSize / 4);
        fixed (byte* start = free)
        {
            IoVector vector = new() { Base = start, Length = (nuint)free.Length };

            // One more than a frame carries, so that surplus ones are seen; the kernel closes what has no room.
            DescriptorMessage control = default;
            SocketMessage message = default;
            message.Vectors = &vector;
            message.VectorCount = 1;
            if (_takesDescriptors)
            {
                message.Control = &control;
                message.ControlLength = (nuint)sizeof(DescriptorMessage);
            }

            nint count;
            do
            {
                if (!TryLimitWait())
                {
                    return false;
                }

                count = LibC.ReceiveMessage(_socket.SafeHandle, &message, LibC.MSG_CMSG_CLOEXEC);
            }
            while (count < 0 && Errno.Last == Errno.EINTR);

            TakeDescriptors(message, control);
            if (count <= 0)
            {
                return false;
            }

            _pipe.Writer.Advance((int)count);
        }

        // Complete at once: the pipe has no threshold at which its writer would wait.
        ValueTask<FlushResult> flush = _pipe.Writer.FlushAsync();
        return flush.IsCompleted && !flush.Result.IsCompleted;
    }

    // The kernel's limit is one for each wait: a peer that sends byte by byte would have it begin again and again.
    private bool TryLimitWait()
    {
        if (_receiveTimeout == Timeout.InfiniteTimeSpan)
        {
            return true;
        }

        TimeSpan left = _receiveTimeout - Stopwatch.GetElapsedTime(_receivesSince);
        if (left <= TimeSpan.Zero)
        {
            return false;
        }

        _socket.ReceiveTimeout = WholeMilliseconds.AtLeast(left);
        return true;
    }

    private void TakeDescriptors(in SocketMessage message, in DescriptorMessage control)
    {
        bool isTruncated = (message.Flags & LibC.MSG_CTRUNC) != 0;
        if (_takesDescriptors && message.ControlLength >= DescriptorMessage.UsedLength
            && control is { Level: LibC.SOL_SOCKET, Type: LibC.SCM_RIGHTS })
        {
            // The control data has room for two descriptors, with the padding.
            _descriptors.Enqueue(new SafeFileHandle(control.Descriptor, ownsHandle: true));
            if (control.Length > DescriptorMessage.UsedLength)
            {
                new SafeFileHandle(control.Padding, ownsHandle: true).Dispose();
                isTruncated = true;
            }
        }

        if (isTruncated || _descriptors.Count > PendingDescriptors)
        {
            throw new ProtocolException("more descriptors than files");
        }
    }

    private nint Send(byte* bytes, int length, SafeHandle? descriptor)
    {
        bool isHeld = false;
        try
        {
            IoVector vector = new() { Base = bytes, Length = (nuint)length };
            DescriptorMessage control = default;
            SocketMessage message = default;
            message.Vectors = &vector;
            message.VectorCount = 1;
            if (descriptor is not null)
            {
                descriptor.DangerousAddRef(ref isHeld);
                control.Length = DescriptorMessage.UsedLength;
                control.Level = LibC.SOL_SOCKET;
                control.Type = LibC.SCM_RIGHTS;
                control.Descriptor = (int)descriptor.DangerousGetHandle();
                message.Control = &control;
                message.ControlLength = (nuint)sizeof(DescriptorMessage);
            }

            nint count;
            do
            {
                count = LibC.SendMessage(_socket.SafeHandle, &message, LibC.MSG_NOSIGNAL);
            }
            while (count < 0 && Errno.Last == Errno.EINTR);

            return count;
        }
        finally
        {
            if (isHeld)
            {
                descriptor!.DangerousRelease();
            }
        }
    }
}
