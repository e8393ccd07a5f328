using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Linux;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Guests;

/// <summary>A VM's OP-TEE over real guest memory, a TEE that the test writes, and a driver that speaks to it.</summary>
internal sealed class GuestBench : IAsyncDisposable
{
    /// <summary>Where guest RAM begins on many machines; nothing depends on it.</summary>
    public const ulong RamStart = 0x4000_0000;

    /// <summary>Enough for the longest page lists of these tests.</summary>
    public const ulong RamLength = 32 << 20;

    /// <summary>A second region right behind the first: one range of addresses for the guest, two
    /// mappings in the host.</summary>
    public const ulong SecondRegion = RamStart + RamLength;

    public const ulong SecondLength = 1 << 20;

    /// <summary>Pages that the driver leaves to the tests: the last MiB of the first region.</summary>
    public const ulong FreePages = RamStart + RamLength - (1 << 20);

    public static readonly Guid Application = new("5b9e0e40-2636-11e1-ad9e-0002a5d5c51b");

    public GuestBench(OpTeeGuestOptions? options = null, ScriptedBackend? backend = null,
        Func<MemfdGuestMemory, IGuestMemory>? wrap = null)
    {
        Backend = backend ?? new ScriptedBackend();
        Ram = MemfdGuestMemory.Create(new GuestRange(RamStart, RamLength), new GuestRange(SecondRegion, SecondLength));
        Guest = new OpTeeGuest(wrap is null ? Ram : wrap(Ram), Backend,
            (options ?? new OpTeeGuestOptions()) with { LoggerFactory = Loggers });
        Driver = new FakeDriver(Guest, Ram, new GuestRange(RamStart, RamLength - (1 << 20)));
    }

    public MemfdGuestMemory Ram { get; }

    public ScriptedBackend Backend { get; }

    public OpTeeGuest Guest { get; }

    public FakeDriver Driver { get; }

    public ListLoggerFactory Loggers { get; } = new();

    public static OpTeeGuestStatus Nothing => OpTeeGuestStatus.Nothing;

    public static OpTeeLimits OneCall { get; } = new() { Calls = 1 };

    /// <summary>A backend whose operations run on the mediator's threads.</summary>
    public static ScriptedBackend OnWorkers() =>
        new() { Execution = TeeExecution.Worker, MemoryExecution = TeeExecution.Worker };

    /// <summary>Opens a session and returns its id.</summary>
    public uint Open()
    {
        GuestMessage answer = Driver.OpenSession(Application);
        Assert.That(answer.ReturnCode, Is.Zero, "The session should open.");
        return answer.Session;
    }

    /// <summary>Registers scattered pages, first page first, and returns them.</summary>
    public ulong[] Share(ulong cookie, int pages, ulong pageOffset = 0)
    {
        ulong[] addresses = Driver.AllocatePages(pages, 2);
        GuestMessage answer =
            Driver.Register(addresses, pageOffset, ((ulong)pages * OpTeeMessage.PageSize) - pageOffset, cookie);
        Assert.That(answer.ReturnCode, Is.Zero, "The registration should succeed.");
        return addresses;
    }

    /// <summary>Starts a call with a page of its own and leaves it where it is.</summary>
    public PendingCall Start(GuestMessage message)
    {
        ulong page = Driver.AllocatePage();
        Driver.WriteMessage(page, message);
        return new PendingCall(page, Driver.Call(OpTeeSmc.CallWithRpcArgument, page >> 32, page),
            message.Parameters.Length);
    }

    /// <summary>Starts an invocation that the backend does not end yet.</summary>
    public PendingCall StartInvoke(uint session, params GuestParameter[] parameters)
    {
        PendingCall call = Start(Invocation(session, 0, parameters));
        Assert.That((uint)call.Registers.X0, Is.EqualTo(OpTeeSmc.ReturnRpcForeignInterrupt),
            "The call should be suspended.");
        return call;
    }

    public static GuestMessage Invocation(uint session, uint function, params GuestParameter[] parameters) =>
        new(OpTeeMessage.CommandInvoke, parameters) { Session = session, Function = function };

    public static GuestMessage Closing(uint session) => new(OpTeeMessage.CommandCloseSession) { Session = session };

    public static GuestMessage Unregistering(ulong cookie) =>
        new(OpTeeMessage.CommandUnregisterSharedMemory, GuestParameter.RegisteredIn(0, 0, cookie));

    public SmcRegisters Resume(PendingCall call) => Resume(call.Registers.X3);

    public SmcRegisters Resume(ulong resumeInformation) => Driver.Call(OpTeeSmc.ReturnFromRpc, 0, 0, resumeInformation);

    /// <summary>Resumes a call until it ends, and reads its message.</summary>
    public GuestMessage Finish(PendingCall call)
    {
        Assert.That(Driver.Finish(call.Registers), Is.EqualTo(OpTeeSmc.ReturnOk));
        return Driver.ReadMessage(call.Page, call.Parameters);
    }

    /// <summary>Disposes of the guest and says what is left.</summary>
    public async Task<OpTeeGuestStatus> DisposeGuestAsync()
    {
        await Guest.DisposeAsync();
        return Guest.Status;
    }

    public async ValueTask DisposeAsync()
    {
        await Guest.DisposeAsync();
        Ram.Dispose();
    }
}
