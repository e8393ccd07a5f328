using OpTeeMediator.Backends;
using OpTeeMediator.Remote.Framing;

namespace OpTeeMediator.Remote.Client;

/// <summary>One operation at a time that a server performs: its frames, and the wait for the server's.</summary>
/// <remarks>
/// Client and server send in turns: the operation, then what the server asks and the answer to it, then the result.
/// So the server has at most one frame that was not read. Only a cancellation comes between.
/// </remarks>
internal sealed class ClientOperation(FrameChannel channel, int index)
{
    private readonly FrameBuilder _cancellation = new();
    private readonly ManualResetEventSlim _received = new(false);
    private readonly Lock _lock = new();
    private byte[] _body = new byte[256];
    private int _bodyLength;
    private FrameType _type;
    private TeeRequest? _request;
    private TaskCompletionSource? _awaited;
    private int _isExpecting;
    private ushort _count;
    private bool _isSent;
    private volatile bool _isLost;

    /// <summary>The frame that is sent next.</summary>
    public FrameBuilder Frame { get; } = new();

    /// <summary>Memory that the guest has allocated for the operation, by its numbers at the server.</summary>
    public List<TeeSharedMemory?> Allocated { get; } = [];

    /// <summary>The operation's number at the server, which no operation before it had.</summary>
    public uint Id { get; private set; }

    /// <summary>The operation that is performed; <see langword="null"/> if it has no request.</summary>
    public TeeRequest? Request => _request;

    /// <summary>Whether an operation with a request has begun and not ended.</summary>
    public bool IsRunning => Volatile.Read(ref _request) is not null;

    /// <summary>The server's latest message.</summary>
    public FrameReader Body => new(_body.AsSpan(0, _bodyLength));

    /// <summary>Begins an operation and its first frame.</summary>
    public void Begin(FrameType type, TeeRequest? request)
    {
        lock (_lock)
        {
            _request = request;
            _isSent = false;
            _count = (ushort)Math.Max(1, _count + 1 & ushort.MaxValue);
            Id = (uint)index | (uint)_count << 16;
        }

        Allocated.Clear();
        Frame.Begin(type, channel.Partition, Id);
    }

    /// <summary>Ends the operation.</summary>
    public void End()
    {
        lock (_lock)
        {
            _request = null;
        }
    }

    /// <summary>Sends the operation itself, with the cancellation that has come before.</summary>
    /// <param name="flags">Where the flags stand in the frame; −1 if it has none.</param>
    /// <returns><see langword="false"/> if the server is gone.</returns>
    public bool TryStart(int flags)
    {
        Expect();
        lock (_lock)
        {
            if (flags >= 0 && _request is not null)
            {
                Frame.Overwrite(flags, FlagsOf(_request));
            }

            // From here on a cancellation is sent.
            _isSent = true;
            return channel.TrySend(Frame.Frame);
        }
    }

    /// <summary>Begins the answer to what the server has asked.</summary>
    public void BeginAnswer() => Frame.Begin(FrameType.Answer, channel.Partition, Id);

    /// <summary>Sends an answer.</summary>
    /// <returns><see langword="false"/> if the server is gone.</returns>
    public bool TryAnswer()
    {
        Expect();
        return channel.TrySend(Frame.Frame);
    }

    /// <summary>Blocks until the server has sent something.</summary>
    /// <returns>What it is; <see cref="FrameType.None"/> if the server is gone.</returns>
    public FrameType Wait()
    {
        _received.Wait();
        return TakeReceived();
    }

    /// <summary>Blocks until the server has sent something, or the time is over.</summary>
    /// <param name="timeout">The time.</param>
    /// <param name="type">What it is; <see cref="FrameType.None"/> if the server is gone.</param>
    /// <returns><see langword="false"/> if the time is over.</returns>
    public bool TryWait(TimeSpan timeout, out FrameType type)
    {
        bool isReceived = timeout > TimeSpan.Zero && _received.Wait(timeout);
        type = isReceived ? TakeReceived() : FrameType.None;
        return isReceived;
    }

    /// <inheritdoc cref="Wait"/>
    public async Task<FrameType> WaitAsync()
    {
        TaskCompletionSource awaited = new(TaskCreationOptions.RunContinuationsAsynchronously);
        Volatile.Write(ref _awaited, awaited);
        Interlocked.MemoryBarrier();
        if (!_received.IsSet)
        {
            await awaited.Task;
        }

        _awaited = null;
        return TakeReceived();
    }

    /// <summary>Takes a message of the server's.</summary>
    /// <exception cref="ProtocolException">None is expected.</exception>
    public void Receive(in FrameHeader header, ReadOnlySpan<byte> body)
    {
        if (header.Operation != Id || Interlocked.Exchange(ref _isExpecting, 0) == 0)
        {
            throw new ProtocolException(
                $"a message of type {(ushort)header.Type} for operation {header.Operation:x}, which expects none");
        }

        if (_body.Length < body.Length)
        {
            _body = new byte[body.Length];
        }

        body.CopyTo(_body);
        _bodyLength = body.Length;
        _type = header.Type;
        Signal();
    }

    /// <summary>The server is gone: waiting for it returns at once.</summary>
    public void Lose()
    {
        _isLost = true;
        Signal();
    }

    /// <summary>Cancels the operation at the server, if it is there.</summary>
    public void Cancel(TeeRequest request)
    {
        lock (_lock)
        {
            if (_request == request && _isSent)
            {
                _cancellation.Begin(FrameType.Cancel, channel.Partition, Id);
                _cancellation.Write(FlagsOf(request));
                _ = channel.TrySend(_cancellation.Frame);
            }
        }
    }

    private static uint FlagsOf(TeeRequest request) =>
        (request.IsCancellationRequested ? FrameFormat.CancelFlag : 0)
        | (request.IsTerminationRequested ? FrameFormat.TerminateFlag : 0);

    private void Expect()
    {
        _type = FrameType.None;
        _received.Reset();
        Volatile.Write(ref _isExpecting, 1);
        if (_isLost)
        {
            _received.Set();
        }
    }

    private FrameType TakeReceived() => _isLost && Volatile.Read(ref _isExpecting) != 0 ? FrameType.None : _type;

    private void Signal()
    {
        _received.Set();
        Volatile.Read(ref _awaited)?.TrySetResult();
    }
}
