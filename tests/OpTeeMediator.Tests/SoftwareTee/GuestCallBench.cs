using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;

namespace OpTeeMediator.Tests.SoftwareTee;

/// <summary>Scripted applications in a whole VM: a driver that serves RPCs, the mediator, the software TEE.</summary>
internal sealed class GuestCallBench : IAsyncDisposable
{
    public static readonly Guid Other = new("4d5c9f6e-2f0b-4f6a-9a52-7f3f2d7c1a10");

    private readonly MemfdGuestMemory _ram =
        MemfdGuestMemory.Create(new GuestRange(GuestBench.RamStart, GuestBench.RamLength));

    public GuestCallBench(
        TrustedApplicationManifest manifest,
        Func<ApplicationCall, ValueTask<TeeReturnCode>> whenInvoked,
        OpTeeGuestOptions? options = null,
        Func<ScriptedApplication>? create = null,
        SoftwareTeeOptions? teeOptions = null)
    {
        SoftwareTeeBackend tee = new((teeOptions ?? new SoftwareTeeOptions())
            .Add(manifest,
                () => Application = create is null ? new ScriptedApplication { WhenInvoked = whenInvoked } : create())
            .Add(new TrustedApplicationManifest(Other), () => new ScriptedApplication()));
        Guest = new OpTeeGuest(_ram, tee, (options ?? new OpTeeGuestOptions()) with { LoggerFactory = Loggers });
        Driver = new FakeDriver(Guest, _ram, new GuestRange(GuestBench.RamStart, GuestBench.RamLength));
        Services = new RpcServices(Driver);
        Supplicant = new FileSupplicant(Services, _ram);
        Services.OnSupplicant = Supplicant.Serve;
        Driver.OnRpc = Services.Serve;
        Session = Open(manifest.Uuid);
    }

    public OpTeeGuest Guest { get; }

    public FakeDriver Driver { get; }

    public RpcServices Services { get; }

    public FileSupplicant Supplicant { get; }

    public RecordingLoggers Loggers { get; } = new();

    /// <summary>The instance that was made last.</summary>
    public ScriptedApplication? Application { get; private set; }

    public uint Session { get; }

    /// <summary>The application's panics.</summary>
    public IEnumerable<Exception> Panics =>
        Loggers.Entries.Where(entry => entry.Id.Id == 3000).Select(entry => entry.Exception!);

    public uint Open(Guid application)
    {
        GuestMessage answer = Driver.OpenSession(application);
        Assert.That(answer.ReturnCode, Is.Zero, "The session should open.");
        return answer.Session;
    }

    /// <summary>Invokes a command; the guest serves what it is asked.</summary>
    public TeeReturnCode Invoke(uint command = 0) => (TeeReturnCode)Driver.Invoke(Session, command).ReturnCode;

    /// <summary>Starts an invocation with a page of its own and goes on until it asks the guest for a command, which
    /// is not served yet.</summary>
    public PendingCall StartUntilCommand(uint session, uint command = 0)
    {
        PendingCall call = Start(session, command);
        SmcRegisters registers = call.Registers;
        while ((uint)registers.X0 != OpTeeSmc.ReturnRpcCommand)
        {
            registers = Resume(registers);
        }

        return call with { Registers = registers };
    }

    public PendingCall Start(uint session, uint command = 0)
    {
        ulong page = Driver.AllocatePage();
        Driver.WriteMessage(page, GuestBench.Invocation(session, command) with { CancelId = command });
        return new PendingCall(page, Driver.Call(OpTeeSmc.CallWithRpcArgument, page >> 32, page), 0);
    }

    /// <summary>What a call asks the guest.</summary>
    public GuestMessage Asked(PendingCall call) => Driver.ReadMessage(call.Page + OpTeeMessage.HeaderSize);

    /// <summary>Serves a call until it ends.</summary>
    public TeeReturnCode Finish(PendingCall call)
    {
        SmcRegisters registers = call.Registers;
        while (registers.X0 != OpTeeSmc.ReturnOk)
        {
            if ((uint)registers.X0 == OpTeeSmc.ReturnRpcCommand)
            {
                Driver.WriteMessage(call.Page + OpTeeMessage.HeaderSize, Services.Serve(Asked(call)));
            }

            registers = Resume(registers);
        }

        return (TeeReturnCode)Driver.ReadMessage(call.Page, 0).ReturnCode;
    }

    public SmcRegisters Resume(SmcRegisters registers) => Driver.Call(OpTeeSmc.ReturnFromRpc, 0, 0, registers.X3);

    public async ValueTask DisposeAsync()
    {
        await Guest.DisposeAsync();
        Assert.That(Guest.Status, Is.EqualTo(GuestBench.Nothing), "Everything should be given back.");
        _ram.Dispose();
    }
}
