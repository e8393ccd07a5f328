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

/// <summary>A VM whose driver has an open session and shared memory, with a TEE that uses all that it is given, as an
/// application does, and checks it.</summary>
internal sealed class FuzzVm : IDisposable
{
    public const int RpcParameters = 4;

    /// <summary>Where messages lie, by page; registered with <see cref="MessageCookie"/>.</summary>
    public const int MessagePage = 1;

    public const ulong MessageCookie = 0x10;

    /// <summary>The cookie of a buffer of three scattered pages that begins in the middle of its first one.</summary>
    public const ulong LongCookie = 0x20;

    /// <summary>The address of a page list of three pages, for memory of single calls.</summary>
    public const ulong ListPage = FuzzMemory.Start + (40 * GuestPages.PageSize);

    public static readonly Guid Application = new("5b9e0e40-2636-11e1-ad9e-0002a5d5c51b");

    private readonly FakeDriver _driver;
    private readonly OpTeeGuestStatus _atRest;

    // Of the application: the mediator catches what a backend throws.
    private PropertyException? _failure;

    public FuzzVm()
    {
        Backend = new ScriptedBackend
        {
            OnOpen = request => Use(request, TeeReturnCode.Success),
            OnInvoke = request => Use(request, (TeeReturnCode)request.CommandId),
        };
        Guest = new OpTeeGuest(Memory, Backend, new OpTeeGuestOptions { Limits = new() { Calls = 4 } });
        _driver = new FakeDriver(Guest, Memory, new GuestRange(FuzzMemory.Page(8), 16 * GuestPages.PageSize));
        SetUp();
        _atRest = Guest.Status;
    }

    public FuzzMemory Memory { get; } = new();

    public ScriptedBackend Backend { get; }

    public OpTeeGuest Guest { get; }

    public uint Session { get; private set; }

    /// <summary>A message as it lies in memory.</summary>
    public static byte[] BytesOf(GuestMessage message)
    {
        ReadOnlySpan<uint> header =
        [
            message.Command, message.Function, message.Session, message.CancelId, 0, message.ReturnCode,
            message.ReturnOrigin, (uint)message.Parameters.Length,
        ];
        return [.. MemoryMarshal.AsBytes(header), .. MemoryMarshal.AsBytes<GuestParameter>(message.Parameters)];
    }

    /// <summary>Makes a call with the message in <see cref="MessagePage"/>, which ends at once.</summary>
    /// <returns>X0.</returns>
    public uint Call(uint functionId, int offset)
    {
        SmcRegisters registers = default;
        ulong name = functionId == OpTeeSmc.CallWithRegisteredArgument
            ? MessageCookie
            : FuzzMemory.Page(MessagePage) + (uint)offset;
        registers.X0 = functionId;
        registers.X1 = name >> 32;
        registers.X2 = (uint)name;
        registers.X3 = functionId == OpTeeSmc.CallWithRegisteredArgument ? (uint)offset : 0;
        SmcOutcome outcome = Guest.Handle(ref registers, SmcRegisterSet.All);
        if (_failure is not null)
        {
            throw _failure;
        }

        Require(outcome.Kind == SmcOutcomeKind.Handled, "a call of an inline TEE is answered at once");
        uint answer = (uint)registers.X0;
        Require(registers.X0 is OpTeeSmc.ReturnOk or OpTeeSmc.ReturnBadAddress or OpTeeSmc.ReturnBadCommand
            or OpTeeSmc.ReturnNoMemory, "the answer is one of the protocol's");
        return answer;
    }

    /// <summary>Checks that nothing is left of a call, and undoes what it has changed.</summary>
    public void Restore()
    {
        OpTeeGuestStatus status = Guest.Status;
        Require(status.CallsInFlight == 0, "no call is left");
        Require(Memory.Pinned.Count == status.Buffers, "each buffer is pinned, and nothing else");

        // Those with the enumeration of devices are the mediator's own.
        Require(Backend.OpenSessions <= status.Sessions, "the TEE has no sessions but those that the guest has");
        if (status == _atRest && Backend.RegisteredBuffers == _atRest.Buffers)
        {
            return;
        }

        Reset();
        SetUp();
        Require(Guest.Status == _atRest, "a restarted driver finds what the first one found");
    }

    /// <summary>Starts the driver again: all that it had is freed.</summary>
    public void Reset()
    {
        SmcRegisters registers = default;
        registers.X0 = OpTeeSmc.ExchangeCapabilities;
        _ = Guest.Handle(ref registers, SmcRegisterSet.All);
        Require(registers.X0 == OpTeeSmc.ReturnOk, "a driver can start again");
        Wait(() => Guest.Status == OpTeeGuestStatus.Nothing, "what an earlier driver had is freed");
        Wait(() => Backend is { OpenSessions: 0, RegisteredBuffers: 0 } && Memory.Pinned.Count == 0, "by the TEE, too");
    }

    public void Dispose()
    {
        ValueTask disposal = Guest.DisposeAsync();
        disposal.AsTask().GetAwaiter().GetResult();
    }

    private static void Wait(Func<bool> condition, string what) =>
        Require(SpinWait.SpinUntil(condition, TimeSpan.FromMinutes(1)), what);

    private static void Require(bool holds, string what)
    {
        if (!holds)
        {
            throw new PropertyException(what);
        }
    }

    private void SetUp()
    {
        WriteList(ListPage, [FuzzMemory.Page(50), FuzzMemory.Page(52), FuzzMemory.Page(54)]);
        Register(FuzzMemory.Page(MessagePage), 0, GuestPages.PageSize, MessageCookie);
        Register(FuzzMemory.Page(44), 0x80, 0x2f00, LongCookie);
        Session = _driver.OpenSession(Application).Session;
    }

    // Pages that are not neighbours, from the first one on.
    private void Register(ulong page, ulong offset, ulong size, ulong cookie)
    {
        ulong list = FuzzMemory.Page(41);
        WriteList(list, [page, page + (2 * GuestPages.PageSize), page + (4 * GuestPages.PageSize)]);
        GuestMessage message = new(
            OpTeeMessage.CommandRegisterSharedMemory, GuestParameter.PageList(list | offset, size, cookie));
        Memory.At(MessagePage).Clear();
        BytesOf(message).CopyTo(Memory.At(MessagePage));
        Require(Call(OpTeeSmc.CallWithArgument, 0) == OpTeeSmc.ReturnOk, "shared memory is registered");
    }

    private void WriteList(ulong list, ReadOnlySpan<ulong> pages) =>
        Require(Memory.TryWrite(list, MemoryMarshal.AsBytes(pages)), "the list lies in RAM");

    private ValueTask<TeeResult> Use(TeeRequest request, TeeReturnCode code)
    {
        try
        {
            UseParameters(request);
        }
        catch (PropertyException exception)
        {
            _failure ??= exception;
        }

        return new(TeeResult.FromTee(code));
    }

    // What an application may do with its parameters, and what it must not be able to do.
    public static void UseParameters(TeeRequest request)
    {
        Span<byte> bytes = stackalloc byte[16];
        for (int index = 0; index < TeeRequest.ParameterCount; index++)
        {
            TeeParameter parameter = request.Parameters[index];
            if (parameter.IsValue)
            {
                request.SetValue(index, ~parameter.A, ulong.MaxValue);
            }
            else if (parameter.Memory is { } memory)
            {
                CheckReference(parameter, memory, bytes);
                request.SetSize(index, parameter.IsInput ? parameter.Capacity / 2 : ulong.MaxValue);
            }
            else
            {
                Require(!parameter.TryRead(0, []), "nothing can be read without memory");
            }
        }
    }

    private static void CheckReference(in TeeParameter parameter, TeeSharedMemory memory, Span<byte> bytes)
    {
        ulong capacity = parameter.Capacity;
        Require(parameter.Offset <= memory.Size && capacity <= memory.Size - parameter.Offset,
            "a reference lies in its memory");
        Span<byte> part = bytes[..(int)Math.Min(capacity, (ulong)bytes.Length)];
        Require(parameter.TryRead(0, part) && parameter.TryRead(capacity - (ulong)part.Length, part),
            "all of a reference can be read");
        Require(parameter.TryWrite(capacity - (ulong)part.Length, part) == parameter.IsOutput,
            "outputs can be written, and only they");
        Require(!parameter.TryRead(capacity, bytes[..1]) && !parameter.TryWrite(capacity, bytes[..1]),
            "nothing behind a reference can be read or written");
    }
}
