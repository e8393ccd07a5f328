using System.Runtime.InteropServices;
using OpTeeMediator.Backends;
using OpTeeMediator.Fuzzing.Engine;
using OpTeeMediator.Guests;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Fuzzing.Targets;

/// <summary>A guest's answers to RPCs of each kind.</summary>
/// <remarks>An input: how the call is made (1 byte), then in turns what the application asks for and what the guest
/// answers: registers, or bytes over the RPC message. The application checks that outputs alone have changed; the guest
/// checks that it is asked about nothing but its own memory.</remarks>
internal sealed class RpcAnswerTarget : FuzzTarget
{
    private const int MessagePage = 1;
    private const int ListPage = 6;
    private const int FirstPage = 26;
    private const int MostCalls = 8;
    private const int MostResumes = 256;
    private const uint RpcPrefix = 0xffff_0000;
    private const ulong PageMask = GuestPages.PageSize - 1;

    private static readonly int[] Sizes = [1, 4096, 5000, 70_000];
    private static readonly int MessageSize = OpTeeMessage.Size(GuestServices.ParameterCount);

    private readonly FuzzMemory _memory = new();
    private readonly ScriptedBackend _backend = new();
    private readonly OpTeeGuest _guest;
    private readonly InputReader _input = new();
    private readonly OpTeeGuestStatus _atRest;
    private readonly HashSet<ulong> _offered = [];
    private readonly Dictionary<ulong, ulong> _messagePlaces = [];
    private readonly byte[] _message = new byte[MessageSize];
    private readonly uint _session;
    private PropertyException? _failure;

    public RpcAnswerTarget()
    {
        _guest = new OpTeeGuest(_memory, _backend, new OpTeeGuestOptions
        {
            Limits = new() { Calls = 2, Buffers = 6, Pages = 128, PagesPerBuffer = 128 },
        });
        FakeDriver driver = new(_guest, _memory, new GuestRange(FuzzMemory.Page(8), 8 * GuestPages.PageSize));
        _session = driver.OpenSession(FuzzVm.Application).Session;
        _backend.OnInvoke = ServeAsync;
        _atRest = _guest.Status;
    }

    // Each kind of call, answered as asked for; memory that is used by the other kinds; codes, and bytes over messages;
    // a call of fewer parameters than the one before.
    public override IEnumerable<byte[]> Seeds =>
    [
        [0, 3, 0, 4, 0, 11],
        .. Enumerable.Range(0, 12).Select(kind => (byte[])[0, (byte)kind, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        .. Enumerable.Range(2, 9).Select(kind => (byte[])[1, 1, 0, 2, 0, 1, 0, (byte)kind, 0, 0, 0, 0, 0, 11]),
        [0, 0, 1, 8, 0, 0xff, 0xff, 3, 2, 24, 8, 1, 2, 3, 4, 5, 6, 7, 8, 11],
        [0, 1, 0, 2, 2, 32, 8, 9, 0, 0, 0, 0, 0, 0, 0, 11],
    ];

    public override void Execute(ReadOnlySpan<byte> input)
    {
        _input.Begin(input);
        _offered.Clear();
        _messagePlaces.Clear();
        uint conduit = _input.Below(2) == 0 ? OpTeeSmc.CallWithRpcArgument : OpTeeSmc.CallWithArgument;
        GuestMessage message = new(OpTeeMessage.CommandInvoke) { Session = _session };
        ulong page = FuzzMemory.Page(MessagePage);
        _memory.At(MessagePage).Clear();
        FuzzVm.BytesOf(message).CopyTo(_memory.At(MessagePage));
        ulong place = conduit == OpTeeSmc.CallWithRpcArgument ? page + OpTeeMessage.HeaderSize : 0;
        SmcRegisters registers = Call([conduit, page >> 32, (uint)page]);
        for (int resumes = 0; (registers.X0 & RpcPrefix) == RpcPrefix; resumes++)
        {
            Require(resumes < MostResumes, "calls end");
            registers = Resume(registers, place);
        }

        if (_failure is not null)
        {
            throw _failure;
        }

        Require(registers.X0 == OpTeeSmc.ReturnOk, "an invocation ends");
        Require(_memory.Pinned.Count == _guest.Status.Buffers, "each buffer is pinned, and nothing else");
        while (Call([OpTeeSmc.DisableShmCache]).X0 == OpTeeSmc.ReturnOk)
        {
            // The memory of one call after the other.
        }

        _ = Call([OpTeeSmc.EnableShmCache]);
        Require(_guest.Status == _atRest && _memory.Pinned.Count == 0, "nothing of a call is left");
    }

    private SmcRegisters Resume(in SmcRegisters asked, ulong place)
    {
        ulong address = 0;
        ulong cookie = 0;
        switch ((uint)asked.X0)
        {
            case OpTeeSmc.ReturnRpcAllocate:
                Require((uint)asked.X1 > 0, "memory of some size");
                address = _input.Below(4) switch
                {
                    0 => FuzzMemory.Page(FirstPage),
                    1 => FuzzMemory.Page(FirstPage) + GuestPages.PageSize - (ulong)_input.Byte(),
                    2 => 0,
                    _ => _input.UInt64(),
                };
                cookie = (ulong)_input.Below(4);
                _ = _offered.Add(cookie);
                _messagePlaces[cookie] = address;
                break;

            case OpTeeSmc.ReturnRpcFree:
                Require(_offered.Contains(asked.Pair(1, 2)), "memory is given back that was given");
                break;

            case OpTeeSmc.ReturnRpcCommand:
                Answer(place == 0 ? _messagePlaces.GetValueOrDefault(asked.Pair(1, 2)) : place);
                break;

            default:
                Require((uint)asked.X0 == OpTeeSmc.ReturnRpcForeignInterrupt, "an RPC is one of the protocol's");
                break;
        }

        return Call([OpTeeSmc.ReturnFromRpc, address >> 32, (uint)address, asked.X3, cookie >> 32, (uint)cookie]);
    }

    private void Answer(ulong place)
    {
        _ = _memory.TryRead(place, _message);
        Span<uint> header = MemoryMarshal.Cast<byte, uint>(_message.AsSpan(0, OpTeeMessage.HeaderSize));
        Span<GuestParameter> parameters =
            MemoryMarshal.Cast<byte, GuestParameter>(_message.AsSpan(OpTeeMessage.HeaderSize));
        uint command = header[0];
        if (header[7] is > 0 and <= GuestServices.ParameterCount)
        {
            CheckAsked(command, parameters[..(int)header[7]]);
        }

        int form = _input.Below(4);
        header[5] = form == 1 ? _input.UInt32() : 0;
        if (command == OpTeeRpc.AllocateSharedMemory)
        {
            ulong size = parameters[0].B;
            ulong cookie = 0x1000 + (ulong)_input.Below(4);
            parameters[0] = GuestParameter.PageList(List(_input.Below(4), size), size, cookie);
        }

        if (form >= 2)
        {
            int offset = _input.Below(MessageSize);
            int count = Math.Min(_input.Below(32), MessageSize - offset);
            foreach (ref byte changed in _message.AsSpan(offset, count))
            {
                changed = _input.Byte();
            }
        }

        if (command == OpTeeRpc.AllocateSharedMemory)
        {
            _ = _offered.Add(parameters[0].C);
        }

        _ = _memory.TryWrite(place, _message);
    }

    private void CheckAsked(uint command, ReadOnlySpan<GuestParameter> parameters)
    {
        if (command == OpTeeRpc.FreeSharedMemory)
        {
            Require(_offered.Contains(parameters[0].B), "memory is given back that was given");
        }

        foreach (ref readonly GuestParameter parameter in parameters)
        {
            uint type = (uint)parameter.Attributes;
            Require(type <= OpTeeMessage.TypeTemporaryInOut, "attributes are those of a type");
            Require(
                type is < OpTeeMessage.TypeRegisteredInput or > OpTeeMessage.TypeRegisteredInOut
                || _offered.Contains(parameter.C),
                "memory is named that was given");
        }
    }

    private ulong List(int form, ulong size)
    {
        Span<ulong> list = MemoryMarshal.Cast<byte, ulong>(_memory.At(ListPage));
        list.Clear();
        int count = (int)Math.Min((size + PageMask) / GuestPages.PageSize, 32);
        for (int index = 0; index < count; index++)
        {
            list[index] = FuzzMemory.Page(FirstPage + 2 + (form == 1 ? 31 - index : index));
        }

        list[0] = form == 2 ? FuzzMemory.Page(FuzzMemory.Pages) : list[0];
        return FuzzMemory.Page(ListPage) | (form == 3 ? _input.UInt32() & PageMask : 0);
    }

    private SmcRegisters Call(ReadOnlySpan<ulong> arguments)
    {
        SmcRegisters registers = default;
        arguments.CopyTo(registers[..arguments.Length]);
        SmcOutcome outcome = _guest.Handle(ref registers, SmcRegisterSet.All);
        Require(outcome.Kind == SmcOutcomeKind.Handled, "a call is answered at once");
        return registers;
    }

    private async ValueTask<TeeResult> ServeAsync(TeeRequest request)
    {
        try
        {
            await PerformAsync(request.Guest!);
        }
        catch (PropertyException exception)
        {
            _failure ??= exception;
        }

        return TeeResult.Success;
    }

    private async ValueTask PerformAsync(GuestServices guest)
    {
        TeeSharedMemory? memory = null;
        for (int calls = 0; calls < MostCalls && !_input.IsAtEnd; calls++)
        {
            TeeParameter value = TeeParameter.Value(TeeParameterKind.ValueInput, 1, 2, 3);
            TeeParameter inOut = TeeParameter.Value(TeeParameterKind.ValueInOut, 3, 4, 5);
            ulong part = memory is null ? 0 : Math.Min(memory.Size, 16);
            switch (_input.Below(12))
            {
                case 0:
                    GuestAnswer<TimeSpan> time = await guest.GetTimeAsync();
                    Require(time.Value >= TimeSpan.Zero, "a time is after 1970");
                    break;
                case 1:
                    int size = Sizes[_input.Below(Sizes.Length)];
                    GuestMemoryKind kind = (GuestMemoryKind)_input.Below(2);
                    TeeSharedMemory? more = await guest.AllocateAsync(kind, size);
                    Require(more is null || IsThere(more, (ulong)size), "memory is as large as asked for, and there");
                    memory = more ?? memory;
                    break;
                case 2 when memory is not null:
                    _ = await guest.FreeAsync(memory);
                    memory = null;
                    break;
                case 3:
                    await CallAsync(guest, OpTeeRpc.FileSystem, inOut, Of(memory, TeeParameterKind.MemoryInOut, part),
                        TeeParameter.Value(TeeParameterKind.ValueOutput, 0, 0));
                    break;
                case 4:
                    await CallAsync(guest, OpTeeRpc.LoadApplication, value,
                        Of(memory, TeeParameterKind.MemoryOutput, part));
                    break;
                case 5:
                    await CallAsync(guest, OpTeeRpc.Rpmb, Of(memory, TeeParameterKind.MemoryInput, part),
                        Of(memory, TeeParameterKind.MemoryOutput, part));
                    break;
                case 6:
                    _ = await guest.SuspendAsync(TimeSpan.FromMilliseconds(1));
                    break;
                case 7:
                    _ = await guest.WaitForNotificationAsync(GuestServices.FirstNotification);
                    break;
                case 8:
                    _ = await guest.SendNotificationAsync(GuestServices.LastNotification);
                    break;
                case 9:
                    await CallAsync(guest, OpTeeRpc.I2cTransfer, value, value,
                        Of(memory, TeeParameterKind.MemoryInOut, part),
                        TeeParameter.Value(TeeParameterKind.ValueOutput, 0, 0));
                    break;
                case 10:
                    await CallAsync(guest, OpTeeRpc.Socket, inOut, inOut, inOut, inOut);
                    break;
                default:
                    return;
            }
        }
    }

    private static TeeParameter Of(TeeSharedMemory? memory, TeeParameterKind kind, ulong size) =>
        TeeParameter.Reference(kind, memory, 0, size);

    private static async ValueTask CallAsync(GuestServices guest, uint command, params TeeParameter[] sent)
    {
        _ = await guest.CallAsync(command, sent);
        for (int index = 0; index < GuestServices.ParameterCount; index++)
        {
            TeeParameter before = index < sent.Length ? sent[index] : default;
            TeeParameter after = guest.Parameters[index];
            Require(after.Kind == before.Kind && after.Memory == before.Memory && after.Offset == before.Offset
                && after.Capacity == before.Capacity, "kinds and memory are the application's");
            Require(before.IsOutput || (after.A, after.B, after.C) == (before.A, before.B, before.C),
                "inputs stay as they were");
        }
    }

    private static bool IsThere(TeeSharedMemory memory, ulong size)
    {
        Span<byte> bytes = stackalloc byte[1];
        return memory.Size == size && memory.TryRead(size - 1, bytes) && memory.TryWrite(size - 1, bytes)
            && !memory.TryRead(size, bytes);
    }
}
