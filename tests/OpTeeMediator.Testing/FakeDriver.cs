using System.Buffers.Binary;
using System.Runtime.InteropServices;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Testing;

/// <summary>Speaks the driver's side of OP-TEE's interface over real guest memory, as Linux's driver does.</summary>
/// <remarks>One vCPU: not thread-safe. Several drivers may share a handler and memory if their pages differ.</remarks>
public sealed class FakeDriver
{
    private const ulong RpcPrefix = 0xffff_0000;
    private const ulong CookieBits = 0xffff_0000_0000_0000;
    private const uint NotSupported = 0xffff_000a;

    private readonly ISmcHandler _handler;
    private readonly ulong _end;
    private ulong _next;
    private ulong _messagePage;
    private ulong _privatePage;
    private ulong _rpcPlace;
    private ulong _rpcPage;

    /// <summary>Creates a driver that uses the pages of a part of guest RAM.</summary>
    public FakeDriver(ISmcHandler handler, IGuestMemory memory, GuestRange pages)
    {
        _handler = handler;
        Memory = memory;
        _next = pages.Start.Value;
        _end = pages.End.Value;
    }

    public IGuestMemory Memory { get; }

    /// <summary>The call by which messages are sent; CALL_WITH_REGD_ARG needs
    /// <see cref="RegisterMessagePage"/> first.</summary>
    public uint Conduit { get; set; } = OpTeeSmc.CallWithRpcArgument;

    /// <summary>The cookie of the one page for RPC messages; <see langword="null"/> for a new page each time, with a
    /// cookie that follows from its address.</summary>
    public ulong? RpcCookie { get; set; }

    /// <summary>How many times a call came back with FOREIGN_INTR and was resumed.</summary>
    public int ForeignInterrupts { get; private set; }

    /// <summary>The cookie of the registered message page.</summary>
    public static ulong MessageCookie => 0xffff_0000_0938_53c0;

    /// <summary>The guest address of the message page.</summary>
    public ulong MessagePage => _messagePage == 0 ? _messagePage = AllocatePage() : _messagePage;

    public ulong AllocatePage() => AllocatePages(1, 1)[0];

    /// <summary>Takes pages that lie <paramref name="stride"/> pages apart: 1 for neighbours.</summary>
    public ulong[] AllocatePages(int count, int stride)
    {
        ulong[] pages = new ulong[count];
        for (int index = 0; index < count; index++)
        {
            pages[index] = _next;
            _next += (ulong)stride * OpTeeMessage.PageSize;
        }

        return _next <= _end ? pages : throw new InvalidOperationException("The fake driver has no pages left.");
    }

    public SmcRegisters Call(uint functionId, params ReadOnlySpan<ulong> arguments)
    {
        SmcRegisters registers = default;
        registers.X0 = functionId;
        arguments.CopyTo(registers[1..]);
        while (_handler.Handle(ref registers).Kind == SmcOutcomeKind.Retry)
        {
            // Made again by the guest after its interrupts.
        }

        return registers;
    }

    /// <summary>Writes a page list and returns what the message names: the address of its first page.</summary>
    public ulong WritePageList(ReadOnlySpan<ulong> pages)
    {
        ulong first = AllocatePage();
        ulong list = first;
        while (true)
        {
            int count = Math.Min(pages.Length, OpTeeMessage.AddressesPerListPage);
            Write(list, pages[..count]);
            pages = pages[count..];
            if (pages.IsEmpty)
            {
                return first;
            }

            ulong next = AllocatePage();
            Write(list + (OpTeeMessage.AddressesPerListPage * sizeof(ulong)), [next]);
            list = next;
        }
    }

    /// <summary>Registers the page of messages, as the driver does with RPC_ARG, and sends by
    /// CALL_WITH_REGD_ARG from then on.</summary>
    public uint RegisterMessagePage()
    {
        ulong page = MessagePage;
        uint answer = Register([page], 0, OpTeeMessage.PageSize, MessageCookie).ReturnCode;
        Conduit = OpTeeSmc.CallWithRegisteredArgument;
        return answer;
    }

    public GuestMessage Register(ReadOnlySpan<ulong> pages, ulong pageOffset, ulong size, ulong cookie) =>
        SendPrivately(new GuestMessage(OpTeeMessage.CommandRegisterSharedMemory,
            GuestParameter.PageList(WritePageList(pages) | pageOffset, size, cookie)));

    public GuestMessage Unregister(ulong cookie) =>
        SendPrivately(
            new GuestMessage(OpTeeMessage.CommandUnregisterSharedMemory, GuestParameter.RegisteredIn(0, 0, cookie)));

    /// <summary>OPEN_SESSION with public login.</summary>
    public GuestMessage OpenSession(Guid application, params ReadOnlySpan<GuestParameter> parameters) =>
        Send(Opening(application, default, 0, parameters));

    /// <summary>The message of an OPEN_SESSION.</summary>
    public static GuestMessage Opening(
        Guid application, Guid client, uint login, params ReadOnlySpan<GuestParameter> parameters)
    {
        Span<byte> uuid = stackalloc byte[16];
        Span<byte> clientUuid = stackalloc byte[16];
        _ = application.TryWriteBytes(uuid, bigEndian: true, out _);
        _ = client.TryWriteBytes(clientUuid, bigEndian: true, out _);
        return new GuestMessage(
            OpTeeMessage.CommandOpenSession,
            [
                GuestParameter.Meta(BinaryPrimitives.ReadUInt64LittleEndian(uuid),
                    BinaryPrimitives.ReadUInt64LittleEndian(uuid[8..]), 0),
                GuestParameter.Meta(BinaryPrimitives.ReadUInt64LittleEndian(clientUuid),
                    BinaryPrimitives.ReadUInt64LittleEndian(clientUuid[8..]), login),
                .. parameters,
            ]);
    }

    public GuestMessage Invoke(uint session, uint function, params ReadOnlySpan<GuestParameter> parameters) =>
        Send(new GuestMessage(OpTeeMessage.CommandInvoke, [.. parameters]) { Session = session, Function = function });

    public GuestMessage CloseSession(uint session) =>
        Send(new GuestMessage(OpTeeMessage.CommandCloseSession) { Session = session });

    public GuestMessage Cancel(uint session, uint cancelId) =>
        Send(new GuestMessage(OpTeeMessage.CommandCancel) { Session = session, CancelId = cancelId });

    /// <summary>Sends a message that must be answered OK, resuming it as often as the TEE yields.</summary>
    public GuestMessage Send(GuestMessage message)
    {
        uint answer = TrySend(message);
        return answer == OpTeeSmc.ReturnOk
            ? ReadMessage(MessagePage, message.Parameters.Length)
            : throw new InvalidOperationException($"Message command {message.Command} was answered {answer} in x0.");
    }

    /// <summary>Sends a message, resuming it as often as the TEE yields; returns x0.</summary>
    public uint TrySend(GuestMessage message)
    {
        return Finish(Start(message));
    }

    /// <summary>Starts a call for a message in the message page and does not resume it; its RPC
    /// messages are found.</summary>
    public SmcRegisters Start(GuestMessage message)
    {
        WriteMessage(MessagePage, message);
        _rpcPlace = MessagePage + (ulong)OpTeeMessage.Size(message.Parameters.Length);
        return Start(MessagePage, MessageCookie, 0);
    }

    /// <summary>Starts a call for the message at an address (or, in registered memory, at an offset) and
    /// does not resume it.</summary>
    public SmcRegisters Start(ulong address, ulong cookie, ulong offset) =>
        Conduit == OpTeeSmc.CallWithRegisteredArgument
        ? Call(Conduit, cookie >> 32, (uint)cookie, offset)
        : Call(Conduit, address >> 32, (uint)address);

    /// <summary>Resumes a call until it ends, serving its RPCs; returns x0.</summary>
    public uint Finish(SmcRegisters registers)
    {
        while ((registers.X0 & RpcPrefix) == RpcPrefix && (uint)registers.X0 != OpTeeSmc.ReturnUnknownFunction)
        {
            registers = Step(registers);
        }

        return (uint)registers.X0;
    }

    /// <summary>Serves one RPC return and resumes the call.</summary>
    public SmcRegisters Step(SmcRegisters registers)
    {
        switch ((uint)registers.X0)
        {
            case OpTeeSmc.ReturnRpcForeignInterrupt:
                ForeignInterrupts++;
                return Call(OpTeeSmc.ReturnFromRpc, registers.X1, registers.X2, registers.X3);

            case OpTeeSmc.ReturnRpcAllocate:
                ulong page = RpcCookie is null || _rpcPage == 0 ? _rpcPage = AllocatePage() : _rpcPage;
                ulong cookie = RpcCookie ?? page | CookieBits;
                RpcMemory.Add(cookie, page);
                return Call(OpTeeSmc.ReturnFromRpc, page >> 32, (uint)page, registers.X3, cookie >> 32, (uint)cookie);

            case OpTeeSmc.ReturnRpcFree:
                if (!RpcMemory.Remove(registers.Pair(1, 2)))
                {
                    throw new InvalidOperationException("The TEE gave back memory that it did not have.");
                }

                return Call(OpTeeSmc.ReturnFromRpc, registers.X1, registers.X2, registers.X3);

            case OpTeeSmc.ReturnRpcCommand:
                ulong place = RpcPlace(registers);
                Span<uint> header = stackalloc uint[8];
                Read(place, header);
                GuestMessage message = ReadMessage(place, (int)header[7]);
                WriteMessage(place, OnRpc is null ? message with { ReturnCode = NotSupported } : OnRpc(message));
                return Call(OpTeeSmc.ReturnFromRpc, registers.X1, registers.X2, registers.X3);

            default:
                throw new InvalidOperationException($"The TEE answered 0x{registers.X0:x}, which is no RPC.");
        }
    }

    /// <summary>What the guest's kernel and supplicant answer.</summary>
    public Func<GuestMessage, GuestMessage>? OnRpc { get; set; }

    /// <summary>Memory for RPC messages that the TEE has, by cookie.</summary>
    public Dictionary<ulong, ulong> RpcMemory { get; } = [];

    /// <summary>Where the RPC message of a return lies: behind the call's message, or in memory that
    /// the TEE asked for.</summary>
    public ulong RpcPlace(in SmcRegisters registers) =>
        Conduit == OpTeeSmc.CallWithArgument ? RpcMemory[registers.Pair(1, 2)] : _rpcPlace;

    /// <summary>Writes a message to guest memory.</summary>
    public void WriteMessage(ulong address, GuestMessage message)
    {
        ReadOnlySpan<uint> header =
        [
            message.Command, message.Function, message.Session, message.CancelId, 0, message.ReturnCode,
            message.ReturnOrigin, (uint)message.Parameters.Length,
        ];
        Write(address, header);
        Write<GuestParameter>(address + OpTeeMessage.HeaderSize, message.Parameters);
    }

    /// <summary>Reads a message from guest memory.</summary>
    public GuestMessage ReadMessage(ulong address)
    {
        Span<uint> header = stackalloc uint[8];
        Read(address, header);
        return ReadMessage(address, (int)header[7]);
    }

    public GuestMessage ReadMessage(ulong address, int parameters)
    {
        Span<uint> header = stackalloc uint[8];
        Read(address, header);
        GuestParameter[] read = new GuestParameter[parameters];
        Read<GuestParameter>(address + OpTeeMessage.HeaderSize, read);
        return new GuestMessage(header[0], read)
        {
            Function = header[1],
            Session = header[2],
            CancelId = header[3],
            ReturnCode = header[5],
            ReturnOrigin = header[6],
        };
    }

    /// <summary>Writes to guest memory that is there.</summary>
    public void Write<T>(ulong address, ReadOnlySpan<T> values)
        where T : unmanaged
    {
        if (!Memory.TryWrite(address, MemoryMarshal.AsBytes(values)))
        {
            throw new InvalidOperationException($"0x{address:x} is no guest memory.");
        }
    }

    /// <summary>Reads guest memory that is there.</summary>
    public void Read<T>(ulong address, Span<T> values)
        where T : unmanaged
    {
        if (!Memory.TryRead(address, MemoryMarshal.AsBytes(values)))
        {
            throw new InvalidOperationException($"0x{address:x} is no guest memory.");
        }
    }

    // The driver never uses its registered page for these two: always a page of their own and CALL_WITH_RPC_ARG.
    private GuestMessage SendPrivately(GuestMessage message)
    {
        uint conduit = Conduit;
        Conduit = conduit == OpTeeSmc.CallWithRegisteredArgument ? OpTeeSmc.CallWithRpcArgument : conduit;
        ulong page = _privatePage == 0 ? _privatePage = AllocatePage() : _privatePage;
        WriteMessage(page, message);
        uint answer = Finish(Start(page, 0, 0));
        Conduit = conduit;
        return answer == OpTeeSmc.ReturnOk
            ? ReadMessage(page, message.Parameters.Length)
            : throw new InvalidOperationException($"Message command {message.Command} was answered {answer} in x0.");
    }

}
