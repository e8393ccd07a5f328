using System.Net.Sockets;
using Microsoft.Win32.SafeHandles;
using OpTeeMediator.Backends;
using OpTeeMediator.Fuzzing.Engine;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Remote.Framing;
using OpTeeMediator.Remote.Server;
using OpTeeMediator.State;

namespace OpTeeMediator.Fuzzing.Targets;

/// <summary>Whole connections of a VMM to a TEE server: frames, files, answers to calls of the guest.</summary>
/// <remarks>An input is what the VMM sends, one step after the other. The server's frames are checked; after the
/// connection nothing is left: sessions, buffers, descriptors.</remarks>
internal sealed class ConnectionTarget : FuzzTarget
{
    private const uint Number = 5;
    private const uint Operations = 4;
    private const ulong FileLength = 1 << 16;
    private const int LongestState = 1 << 16;
    private const int ExecutionsOfACount = 256;
    private static readonly TimeSpan Longest = TimeSpan.FromMinutes(2);
    private static readonly TimeSpan HelloTimeout = TimeSpan.FromMinutes(1);

    private readonly InputReader _input = new();
    private readonly FrameBuilder _frame = new();
    private readonly SavableBackend _backend;
    private readonly MemfdGuestMemory _memory = MemfdGuestMemory.Create(new GuestRange(0x4000_0000, FileLength));
    private readonly List<uint> _sessions = [];
    private PropertyException? _failure;
    private FrameChannel _client = null!;
    private uint _count;
    private byte[] _state = [];
    private int _descriptors;
    private int _executions;

    public ConnectionTarget()
    {
        _backend = new SavableBackend
        {
            Execution = TeeExecution.Worker,
            MemoryExecution = TeeExecution.Inline,
            OnOpen = request => ServeAsync(request, 0),
            OnInvoke = request => ServeAsync(request, request.CommandId),
        };
    }

    // A file; a session, a buffer and a command that uses it; each call to the guest; a client that breaks off.
    public override IEnumerable<byte[]> Seeds =>
    [
        [0, 0],
        [0, 0, 2, 0, 0, 3, 0, 0, 0, 0],
        [0, 0, 5, 1, 1, 0, 4, 0, 0, 2, 0, 0, 3, 0, 0, 0, 1, 0, 1, 0, 0, 4, 0, 6, 1],
        .. Enumerable.Range(1, 6).Select(step => (byte[])[0, 0, 2, 0, 0, 3, 0, (byte)step, 0, 0, 0, 0, 1, 1, 0, 7, 0]),
        .. Enumerable.Range(1, 6).Select(step => (byte[])
            [0, 0, 2, 0, 0, 3, 0, (byte)(step << 3 | 2), 0, 0, 0, 0, 1, 1, 0, 7, 0, 0, 0, 0, 0, 0, 0]),
        [0, 2, 0, 0, 8, 3, 10, 4, 1, 2, 3, 4],
        [0, 2, 0, 0, 9, 0, 1, 0, 7, 1, 11],
        [0, 2, 0, 0, 2, 0, 0, 12, 0, 13, 2, 0, 1, 0, 0, 3, 0, 0, 0, 0],
        [0, 14, 1, 60, 0, 0, 0, 0, 3, 0, 0, 0, 0],
        [0, 14, 1, 60, 0, 0, 0, 0, 15, 3, 0, 0, 0, 0],
        [0, 14, 1, 60, 0, 0, 0, 0, 16, 4, 0],
    ];

    public override void Execute(ReadOnlySpan<byte> input)
    {
        _input.Begin(input);
        _sessions.Clear();
        _count = 0;
        WatchedLog log = new(static exception => exception is ProtocolException);
        (_client, FrameChannel channel) = Connect();
        HostedVirtualMachine machine = new(channel, new HostingSettings(
            _backend, Number, TeeAccess.All, 2, new ProtocolLimits((int)Operations, 3, 4, 300, 1 << 14),
            PermitsHugePages: false, Timeout.InfiniteTimeSpan, LongestState, log, log));
        Thread server = new(() => machine.Run()) { IsBackground = true };
        server.Start();
        try
        {
            Converse();
        }
        finally
        {
            _client.Dispose();
        }

        Require(server.Join(Longest), "the server's side of a connection ends");
        if ((_failure ?? log.Failure) is { } failure)
        {
            throw failure;
        }

        Require(_backend is { OpenSessions: 0, RegisteredBuffers: 0 }, "nothing is left in the TEE");
        Require(_backend.Partitions == _backend.Disposals, "partitions are disposed of");
        Require(_backend.KnowsOutcomes, "the TEE is told where each restored VM goes on");
        CheckDescriptors();
    }

    private static (FrameChannel Client, FrameChannel Server) Connect()
    {
        using Socket listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        string path = $"\0optee-fuzz-{Environment.ProcessId}-{Environment.CurrentManagedThreadId}";
        UnixDomainSocketEndPoint name = new(path);
        listener.Bind(name);
        listener.Listen(1);
        Socket client = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        client.Connect(name);
        return (
            new FrameChannel(client, takesDescriptors: false, Longest)
            {
                ReceiveTimeout = Longest,
                MaximumFrame = 1 << 20,
            },
            new FrameChannel(listener.Accept(), takesDescriptors: true, Longest) { ReceiveTimeout = HelloTimeout });
    }

    // The runtime may open some of its own at first.
    private void CheckDescriptors()
    {
        if (++_executions % ExecutionsOfACount != 0)
        {
            return;
        }

        int descriptors = Directory.GetFileSystemEntries("/proc/self/fd").Length;
        if (_executions == ExecutionsOfACount)
        {
            _descriptors = descriptors;
        }

        Require(descriptors < _descriptors + ExecutionsOfACount / 2, "no descriptor is left");
    }

    private void Converse()
    {
        new Hello(2, default, "fuzz", null).Write(_frame);
        if (_input.Below(8) == 7)
        {
            _frame.Begin((FrameType)_input.Below(80), 0, 0);
            WriteBytes(_input.Byte());
        }

        if (!Send() || !_client.TryReceive(out FrameHeader header, out _) || header.Type != FrameType.Welcome)
        {
            return;
        }

        _client.Partition = Number;
        while (!_input.IsAtEnd && Step())
        {
        }
    }

    private bool Step()
    {
        switch (_input.Below(17))
        {
            case 0:
                _frame.Begin(FrameType.AddFile, Number, 0);
                return _client.TrySend(_frame.Frame, _memory.Regions[0].File);
            case 1:
                using (SafeFileHandle file = File.OpenHandle("/dev/null"))
                {
                    _frame.Begin(FrameType.AddFile, Number, 0);
                    return _input.Below(8) != 7
                        ? _client.TrySend(_frame.Frame, _memory.Regions[0].File)
                        : _client.TrySend(_frame.Frame, file);
                }
            case 2:
                Begin(FrameType.OpenSession);
                _frame.Write(0u);
                _frame.Write((uint)_input.Below(8));
                _frame.Write(FuzzVm.Application);
                _frame.Write(default(Guid));
                WriteParameters();
                return Send() && Complete();
            case 3:
                Begin(FrameType.InvokeCommand);
                _frame.Write(0u);
                _frame.Write(AnySession());
                _frame.Write((uint)(_input.Byte() | _input.Byte() << 8));
                WriteParameters();
                return Send() && Complete();
            case 4:
                Begin(FrameType.CloseSession);
                _frame.Write(0u);
                _frame.Write(AnySession());
                return Send() && Complete();
            case 5:
                Begin(FrameType.RegisterMemory);
                _frame.Write((uint)_input.Below(5));
                WriteMemory();
                return Send() && Complete();
            case 6:
                Begin(FrameType.UnregisterMemory);
                _frame.Write((uint)_input.Below(5));
                return Send() && Complete();
            case 7:
                _frame.Begin(FrameType.Cancel, Number, LastOperation());
                _frame.Write((uint)_input.Below(4));
                return Send();
            case 8:
                Begin(FrameType.Reset);
                return Send() && Complete();
            case 9:
                // A command that is not waited for; those that follow may come too early.
                Begin(FrameType.InvokeCommand);
                _frame.Write(0u);
                _frame.Write(AnySession());
                _frame.Write((uint)_input.Byte());
                WriteParameters();
                return Send();
            case 10:
                // A frame of any type, whose end is where it says.
                _frame.Begin((FrameType)_input.Below(80), Number, (uint)_input.Below(6) | (uint)_input.Byte() << 16);
                WriteBytes(_input.Byte());
                return Send();
            case 12:
                Begin(FrameType.CanSave);
                _frame.Write(AnySession());
                return Send() && Complete();
            case 13:
                Begin(FrameType.Save);
                StateCodec.WriteSessions(
                    _frame, [.. Enumerable.Range(0, _input.Below(4)).Select(_ => AnySession())]);
                return Send() && Complete();
            case 14:
                Begin(FrameType.Restore);
                _frame.Write((uint)_input.Below(5));
                _frame.Write(_input.Below(8) == 7 ? _input.UInt32() : WriteState());
                return Send() && Complete();
            case 15:
                _frame.Begin(FrameType.Commit, Number, 0);
                return Send();
            case 16:
                _frame.Begin(FrameType.Abandon, Number, 0);
                return Send();
            default:
                // What is no frame: the server waits for its end, or breaks off.
                _frame.Begin((FrameType)_input.Byte(), _input.UInt32(), _input.UInt32());
                WriteBytes(_input.Byte());
                _ = _client.TrySend(_frame.Frame[(_input.Byte() % FrameHeader.Size)..]);
                return false;
        }
    }

    private void Begin(FrameType type)
    {
        _count++;
        _frame.Begin(type, Number, LastOperation());
    }

    private uint LastOperation() => (_count % Operations) | _count << 16;

    private bool Send() => _client.TrySend(_frame.Frame);

    // Takes what the server sends until the operation ends, and answers its calls.
    private bool Complete()
    {
        uint operation = LastOperation();
        long start = Environment.TickCount64;
        while (_client.TryReceive(out FrameHeader header, out ReadOnlySpan<byte> body))
        {
            FrameReader reader = new(body);
            Require(
                header.Type is >= FrameType.Result and <= FrameType.StateRefused, "the type is one of the server's");
            if (header.Type is FrameType.Result or FrameType.Restored or FrameType.StateRefused)
            {
                Require(header.Operation >> 16 <= _count, "an operation ends that has begun");
                if (header.Operation != operation)
                {
                    continue;
                }

                if (header.Type == FrameType.Restored)
                {
                    _sessions.AddRange(StateCodec.ReadSessions(reader, 3));
                    return true;
                }

                if (header.Type == FrameType.Result && reader.Remaining > 12)
                {
                    _ = reader.ReadUInt64();
                    uint session = reader.ReadUInt32();
                    if (session != 0)
                    {
                        _sessions.Add(session);
                    }
                }

                return true;
            }

            Answer(header, reader);
            if (!Send())
            {
                return false;
            }
        }

        Require(Environment.TickCount64 - start < Longest.TotalMilliseconds / 2, "an operation ends");
        return false;
    }

    private void Answer(in FrameHeader header, FrameReader asked)
    {
        _frame.Begin(FrameType.Answer, Number, header.Operation);
        int form = _input.Below(8);
        if (form == 7)
        {
            WriteBytes(_input.Byte());
            return;
        }

        _frame.Write(form == 6 ? _input.UInt32() : 0u);
        switch (header.Type)
        {
            case FrameType.Allocate:
                _frame.Write((uint)_input.Below(3));
                WriteMemory();
                break;
            case FrameType.NextState:
                _frame.Write(0u);
                _frame.Write(_state.AsSpan(0, Math.Min(_state.Length, FrameFormat.StatePiece)));
                _state = _state[Math.Min(_state.Length, FrameFormat.StatePiece)..];
                break;
            case FrameType.GuestCall:
                _frame.Write(0u);
                for (int index = 0; index < asked.Remaining / 32; index++)
                {
                    _frame.Write((ulong)_input.Byte());
                    _frame.Write(_input.Below(2) == 0 ? 1 : _input.UInt64());
                    _frame.Write((ulong)_input.Byte());
                }

                break;
            default:
                break;
        }
    }

    // One that can be restored, or one whose content the input decides; protected, or it would be refused at once.
    private uint WriteState()
    {
        StateWriter writer = new();
        int sessions = _input.Below(4);
        writer.WriteCount(_input.Below(8) == 7 ? _input.Byte() : sessions);
        for (int index = 0; index < sessions; index++)
        {
            writer.WriteUuid(FuzzVm.Application);
        }

        byte[] saved = new byte[_input.Below(8) == 7 ? _input.Byte() << 8 : _input.Below(8)];
        writer.WriteBlock(saved);
        _state = SealedState.Seal(writer.Written, default, default);
        return (uint)_state.Length;
    }

    private uint AnySession()
    {
        int choice = _input.Byte();
        return choice >= 0xf0 || _sessions.Count == 0 ? (uint)choice : _sessions[choice % _sessions.Count];
    }

    private void WriteParameters()
    {
        const uint Temporary = FrameFormat.TemporaryMemory;
        int forms = _input.Byte();
        int temporary = 0;
        for (int index = 0; index < TeeRequest.ParameterCount; index++)
        {
            (uint kind, uint memory) = (forms >> (2 * index) & 3) switch
            {
                0 => (0u, FrameFormat.NoMemory),
                1 => (5u + (uint)_input.Below(3), (uint)_input.Below(5)),
                2 => (5u + (uint)_input.Below(3), Temporary),
                _ => (_input.Byte(), _input.Below(2) == 0 ? FrameFormat.NoMemory : _input.UInt32()),
            };
            temporary += memory == Temporary ? 1 : 0;
            _frame.Write(kind);
            _frame.Write(memory);
            _frame.Write((ulong)_input.Below(4));
            _frame.Write(kind == 0 ? 0 : _input.Below(2) == 0 ? 8 : _input.UInt64());
            _frame.Write(0ul);
        }

        for (int index = 0; index < temporary; index++)
        {
            WriteMemory();
        }
    }

    private void WriteMemory()
    {
        int count = _input.Below(4);
        ulong size = 0;
        Span<(ulong Offset, ulong Length)> pieces = stackalloc (ulong, ulong)[count];
        foreach (ref (ulong Offset, ulong Length) piece in pieces)
        {
            piece = ((ulong)_input.Byte() << 8, _input.Below(8) switch
            {
                7 => _input.UInt64(),
                6 => 0,
                int length => 16ul << length,
            });
            size = unchecked(size + piece.Length);
        }

        _frame.Write(_input.Below(8) == 7 ? _input.UInt64() : size);
        _frame.Write((uint)count);
        foreach ((ulong offset, ulong length) in pieces)
        {
            _frame.Write((uint)(_input.Below(8) == 7 ? _input.Byte() : 0));
            _frame.Write(0u);
            _frame.Write(offset);
            _frame.Write(length);
        }
    }

    private void WriteBytes(int count)
    {
        for (int index = 0; index < count; index++)
        {
            Span<byte> one = [_input.Byte()];
            _frame.Write(one);
        }
    }

    private async ValueTask<TeeResult> ServeAsync(TeeRequest request, uint script)
    {
        try
        {
            FuzzVm.UseParameters(request);
            return await ConversationTarget.PerformAsync(request, script);
        }
        catch (PropertyException exception)
        {
            _failure ??= exception;
            throw;
        }
    }
}
