using System.Runtime.InteropServices;
using OpTeeMediator.Fuzzing.Engine;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;

namespace OpTeeMediator.Fuzzing.Targets;

/// <summary>A guest that does what an input says: calls of several vCPUs, answers to RPCs, breaches of the protocol. It
/// checks each answer.</summary>
/// <param name="handler">Its OP-TEE.</param>
/// <param name="memory">Its memory: <see cref="Pages"/> pages from <paramref name="start"/> on.</param>
/// <param name="start">Where it begins.</param>
internal sealed class HostileDriver(ISmcHandler handler, IGuestMemory memory, ulong start)
{
    /// <summary>How many pages it uses.</summary>
    public const int Pages = 48;

    private const int MessagePages = 4;
    private const int MostCalls = 8;
    private const ulong FirstCookie = 0x100;
    private const int Cookies = 6;
    private const int ListPage = 6;
    private const int RpcPage = 10;

    // More than any call needs to end, with all that the TEE asks for meanwhile.
    private const int MostResumes = 64;
    private const uint RpcPrefix = 0xffff_0000;

    private static readonly uint[] Conduits =
        [OpTeeSmc.CallWithRpcArgument, OpTeeSmc.CallWithArgument, OpTeeSmc.CallWithRegisteredArgument];

    private static readonly uint[] FastCalls =
    [
        OpTeeSmc.CallsCount, OpTeeSmc.CallsUid, OpTeeSmc.CallsRevision, OpTeeSmc.GetOsUuid, OpTeeSmc.GetOsRevision,
        OpTeeSmc.GetShmConfig, OpTeeSmc.ExchangeCapabilities, OpTeeSmc.DisableShmCache, OpTeeSmc.EnableShmCache,
        OpTeeSmc.VmCreated, OpTeeSmc.VmDestroyed, OpTeeSmc.GetThreadCount, OpTeeSmc.EnableAsyncNotification,
        OpTeeSmc.GetAsyncNotificationValue, OpTeeSmc.GetProtectedMemoryConfig,
    ];

    private readonly InputReader _input = new();
    private readonly List<Suspension> _suspended = [];
    private readonly List<uint> _sessions = [];
    private readonly Dictionary<ulong, ulong> _rpcMemory = [];

    /// <summary>Does what an input says, then ends all calls.</summary>
    public void Play(ReadOnlySpan<byte> input)
    {
        _input.Begin(input);
        _suspended.Clear();
        _sessions.Clear();
        _rpcMemory.Clear();
        while (!_input.IsAtEnd)
        {
            Step();
        }

        // Without input every answer is a good one.
        for (int rounds = 0; _suspended.Count > 0; rounds++)
        {
            Require(rounds < MostCalls * MostResumes, "calls end");
            Resume(0);
        }
    }

    /// <summary>Closes the sessions and unregisters the memory that it knows of, as a driver that ends.</summary>
    public void CleanUp()
    {
        foreach (uint session in _sessions)
        {
            _ = Send(new(OpTeeMessage.CommandCloseSession) { Session = session });
        }

        for (int index = 0; index < Cookies; index++)
        {
            _ = Send(new(OpTeeMessage.CommandUnregisterSharedMemory,
                GuestParameter.RegisteredIn(0, 0, FirstCookie + (uint)index)));
        }

        while (Call([OpTeeSmc.DisableShmCache]).X0 == OpTeeSmc.ReturnOk)
        {
            // The memory of one call after the other.
        }
    }

    /// <summary>EXCHANGE_CAPABILITIES: a driver starts.</summary>
    public ulong Exchange() => Call([OpTeeSmc.ExchangeCapabilities, 0]).X0;

    private static void Require(bool holds, string what)
    {
        if (!holds)
        {
            throw new PropertyException(what);
        }
    }

    private ulong Page(int index) => start + ((ulong)index * GuestPages.PageSize);

    private void Step()
    {
        switch (_input.Below(12))
        {
            case 0:
                Start(FakeDriver.Opening(FuzzVm.Application, default, (uint)_input.Below(8), Parameters(2)));
                break;
            case 1 or 2:
                Start(new(OpTeeMessage.CommandInvoke, Parameters(4))
                {
                    Session = AnySession(),
                    Function = (uint)(_input.Byte() | _input.Byte() << 8),
                    CancelId = (uint)_input.Below(3),
                });
                break;
            case 3:
                Start(new(OpTeeMessage.CommandCloseSession) { Session = AnySession() });
                break;
            case 4:
                Start(new(OpTeeMessage.CommandRegisterSharedMemory,
                    GuestParameter.PageList(List(_input.Below(8)) | Offset(), Size(), Cookie())));
                break;
            case 5:
                Start(new(OpTeeMessage.CommandUnregisterSharedMemory, GuestParameter.RegisteredIn(0, 0, Cookie())));
                break;
            case 6:
                Start(new(OpTeeMessage.CommandCancel) { Session = AnySession(), CancelId = (uint)_input.Below(3) });
                break;
            case 7 or 8:
                Resume(_input.Byte());
                break;
            case 9:
                _ = Call([FastCalls[_input.Below(FastCalls.Length)], _input.Byte()]);
                break;
            case 10:
                _ = Call([_input.UInt32(), _input.UInt32(), _input.UInt32(), _input.UInt32()]);
                break;
            default:
                _ = Exchange();
                break;
        }
    }

    private void Start(GuestMessage message)
    {
        if (_suspended.Count >= MostCalls)
        {
            return;
        }

        ulong page = Page(_input.Below(MessagePages));
        uint conduit = Conduits[_input.Below(Conduits.Length)];
        byte[] bytes = FuzzVm.BytesOf(message);
        _ = memory.TryWrite(page, bytes);
        ulong place = conduit == OpTeeSmc.CallWithArgument ? 0 : page + (ulong)bytes.Length;
        SmcRegisters answer = conduit == OpTeeSmc.CallWithRegisteredArgument
            ? Call([conduit, 0, Cookie(), 0])
            : Call([conduit, page >> 32, (uint)page]);
        Note(answer, page, place);
    }

    private ulong Send(GuestMessage message)
    {
        ulong page = Page(0);
        _ = memory.TryWrite(page, FuzzVm.BytesOf(message));
        return Call([OpTeeSmc.CallWithArgument, page >> 32, (uint)page]).X0;
    }

    private void Note(in SmcRegisters answer, ulong page, ulong place)
    {
        Span<uint> header = stackalloc uint[8];
        uint code = (uint)answer.X0;
        if ((code & RpcPrefix) == RpcPrefix && code != OpTeeSmc.ReturnUnknownFunction)
        {
            Require(code is OpTeeSmc.ReturnRpcAllocate or OpTeeSmc.ReturnRpcFree or OpTeeSmc.ReturnRpcCommand
                or OpTeeSmc.ReturnRpcForeignInterrupt, "an RPC is one of the protocol's");
            _suspended.Add(new(answer, page, place));
            return;
        }

        Require(code <= OpTeeSmc.ReturnNotAvailable || code == OpTeeSmc.ReturnUnknownFunction,
            "the answer is one of the protocol's");
        if (code == OpTeeSmc.ReturnOk && memory.TryRead(page, MemoryMarshal.AsBytes(header))
            && header[0] == OpTeeMessage.CommandOpenSession && header[5] == 0)
        {
            _sessions.Add(header[2]);
        }
    }

    private void Resume(int choice)
    {
        if (_suspended.Count == 0)
        {
            _ = Call([OpTeeSmc.ReturnFromRpc, 0, 0, (uint)choice]);
            return;
        }

        int index = choice % _suspended.Count;
        (SmcRegisters asked, ulong page, ulong place) = _suspended[index];
        _suspended.RemoveAt(index);
        ulong address = 0;
        ulong cookie = 0;
        switch ((uint)asked.X0)
        {
            case OpTeeSmc.ReturnRpcAllocate:
                address = Offered(RpcPage + _input.Below(MessagePages));
                cookie = 1 + (ulong)_input.Below(4);
                _rpcMemory[cookie] = address;
                break;
            case OpTeeSmc.ReturnRpcCommand:
                ulong named = _rpcMemory.GetValueOrDefault(asked.Pair(1, 2));
                Answer(place == 0 ? named : place);
                break;
            default:
                break;
        }

        Note(Call([OpTeeSmc.ReturnFromRpc, address >> 32, (uint)address, asked.X3, cookie >> 32, (uint)cookie]), page,
            place);
    }

    private ulong Offered(int page) => _input.Below(4) switch
    {
        0 => Page(page),
        1 => Page(page) + 8,
        2 => 0,
        _ => _input.UInt64(),
    };

    // The guest's answer to an RPC message, where it lies.
    private void Answer(ulong place)
    {
        Span<uint> header = stackalloc uint[8];
        if (!memory.TryRead(place, MemoryMarshal.AsBytes(header)))
        {
            return;
        }

        header[5] = _input.Below(4) == 3 ? 0xffff_0000 | _input.Byte() : 0;
        _ = memory.TryWrite(place, MemoryMarshal.AsBytes(header));
        Span<GuestParameter> first = stackalloc GuestParameter[1];
        _ = memory.TryRead(place + OpTeeMessage.HeaderSize, MemoryMarshal.AsBytes(first));
        if (header[0] == OpTeeRpc.AllocateSharedMemory)
        {
            ulong size = first[0].B + (uint)_input.Below(3) * 4096 - (uint)_input.Below(2);
            ulong cookie = 0x1000 + (ulong)_input.Below(4);
            first[0] = _input.Below(4) switch
            {
                0 => GuestParameter.PageList(List(_input.Below(8)) | Offset(), size, cookie),
                1 => GuestParameter.Temporary(OpTeeMessage.TypeTemporaryOutput, Offered(RpcPage + 8), size, cookie),
                2 => GuestParameter.RegisteredOut(0, size, cookie),
                _ => new GuestParameter(_input.UInt32(), _input.UInt64(), _input.UInt32(), cookie),
            };
        }
        else
        {
            first[0] = first[0] with { A = _input.UInt32(), B = _input.Below(2) == 0 ? first[0].B : _input.UInt64() };
        }

        _ = memory.TryWrite(place + OpTeeMessage.HeaderSize, MemoryMarshal.AsBytes(first));
    }

    // A page list: one of a few forms.
    private ulong List(int form)
    {
        ulong list = Page(ListPage);
        Span<ulong> pages =
        [
            Page(20), Page(form is 1 ? 21 : 22), form is 2 ? Page(20) : Page(form is 1 ? 22 : 24),
            form is 3 ? ulong.MaxValue - 4095 : Page(26), form is 4 ? Page(28) + 1 : Page(28),
        ];
        pages[0] = form is 5 ? Page(0) : pages[0];
        _ = memory.TryWrite(list, MemoryMarshal.AsBytes(pages));
        return form is 6 ? _input.UInt64() & ~0xffful : form is 7 ? list + 8 : list;
    }

    private ulong Offset() => _input.Below(4) == 3 ? (ulong)_input.Byte() << 4 : 0;

    private ulong Size() => _input.Below(6) switch
    {
        0 => 4096,
        1 => 3 * 4096,
        2 => 1,
        3 => 0,
        4 => _input.UInt32(),
        _ => _input.UInt64(),
    };

    private ulong Cookie() => FirstCookie + (ulong)_input.Below(Cookies);

    private uint AnySession()
    {
        int choice = _input.Byte();
        return choice >= 0xf0 || _sessions.Count == 0 ? (uint)choice : _sessions[choice % _sessions.Count];
    }

    private GuestParameter[] Parameters(int most)
    {
        GuestParameter[] parameters = new GuestParameter[_input.Below(most + 2)];
        foreach (ref GuestParameter parameter in parameters.AsSpan())
        {
            parameter = _input.Below(8) switch
            {
                0 => GuestParameter.ValueInOut(_input.Byte(), 2),
                1 => GuestParameter.RegisteredInOut(Offset(), Size(), Cookie()),
                2 => GuestParameter.RegisteredOut(0, Size(), Cookie()),
                3 => GuestParameter.PageList(List(_input.Below(8)) | Offset(), Size(), 7),
                4 => GuestParameter.Temporary(OpTeeMessage.TypeTemporaryInput, Offered(30), Size(), 0),
                5 => GuestParameter.RegisteredIn(0, 0, 0),
                6 => GuestParameter.None,
                _ => new GuestParameter(_input.UInt32(), _input.UInt64(), _input.UInt32(), _input.UInt32()),
            };
        }

        return parameters;
    }

    private SmcRegisters Call(ReadOnlySpan<ulong> arguments)
    {
        SmcRegisters registers = default;
        for (int index = 0; index < SmcRegisters.Count; index++)
        {
            registers[index] = index < arguments.Length ? arguments[index] : 0xa0a0_0000_0000_0000 | (uint)index;
        }

        SmcRegisters before = registers;
        SmcOutcome outcome = handler.Handle(ref registers, SmcRegisterSet.All);
        Require(outcome.Kind is SmcOutcomeKind.Handled or SmcOutcomeKind.NotHandled, "a call is answered at once");
        for (int index = 0; index < SmcRegisters.Count; index++)
        {
            Require(outcome.Registers.Contains(SmcRegisterSet.Range(index, index)) || registers[index] == before[index],
                "registers that are not named as changed are as they were");
        }

        return registers;
    }

    /// <summary>A call that waits for the guest.</summary>
    /// <param name="Registers">What it was answered.</param>
    /// <param name="Page">Where its message lies.</param>
    /// <param name="Place">Where its RPC messages lie; 0 if in memory that it asks for.</param>
    private readonly record struct Suspension(SmcRegisters Registers, ulong Page, ulong Place);
}
