using System.Collections.Immutable;
using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.State;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;

namespace OpTeeMediator.Tests.State;

/// <summary>A VM whose OP-TEE is saved and restored: memory and driver stay, mediator and TEE are new.
/// </summary>
internal sealed class MovingVm : ISmcHandler, IAsyncDisposable
{
    public static readonly Guid Identity = new("3d4f2b52-6a0e-4f76-9d1b-7f2f4b1c9a01");

    private static readonly GuestRange s_range = new(GuestBench.RamStart, GuestBench.RamLength);

    private readonly Func<ITeeBackend> _createBackend;

    public MovingVm(Func<ITeeBackend>? createBackend = null, OpTeeGuestOptions? options = null)
    {
        _createBackend = createBackend ?? CreateTee;
        Options = (options ?? new OpTeeGuestOptions()) with { Identity = Identity };
        Guest = new OpTeeGuest(Memory, _createBackend(), Options);
        Driver = new FakeDriver(this, Memory, s_range);
        Services = new RpcServices(Driver);
        Driver.OnRpc = Services.Serve;
    }

    public MemfdGuestMemory Memory { get; } = MemfdGuestMemory.Create(s_range);

    public OpTeeGuestOptions Options { get; set; }

    /// <summary>Lets <see cref="CountingApplication.AddWhenReleased"/> go on.</summary>
    public ManualResetEventSlim MayGoOn { get; } = new(false);

    public OpTeeGuest Guest { get; private set; }

    public FakeDriver Driver { get; }

    public RpcServices Services { get; }

    public ImmutableArray<SmcFunctionRange> Ranges => Guest.Ranges;

    public SmcOutcome Handle(ref SmcRegisters registers, SmcRegisterSet loaded) =>
        Guest.Handle(ref registers, loaded);

    /// <summary>A TEE with counting applications.</summary>
    public SoftwareTeeBackend CreateTee() => new(new SoftwareTeeOptions()
        .Add(CountingApplication.PerSession, () => new CountingApplication { MayGoOn = MayGoOn })
        .Add(CountingApplication.Single, () => new CountingApplication { MayGoOn = MayGoOn }));

    /// <summary>Pauses and saves.</summary>
    public async Task<byte[]> SaveAsync(OpTeeStateOptions? options = null)
    {
        Assert.That(await Guest.PauseAsync(), "The VM should come to a halt.");
        return await Guest.SaveAsync(options ?? new OpTeeStateOptions());
    }

    /// <summary>Ends this process's mediator and goes on with one that has the state, paused.</summary>
    public async Task RestoreAsync(byte[] state, OpTeeStateOptions? options = null)
    {
        await Guest.DisposeAsync();
        Assert.That(Guest.Status, Is.EqualTo(GuestBench.Nothing), "Everything should be given back.");
        Guest = await OpTeeGuest.RestoreAsync(
            Memory, _createBackend(), Options, state, options ?? new OpTeeStateOptions());
    }

    /// <summary>Saves, restores and resumes.</summary>
    public async Task MoveAsync(OpTeeStateOptions? options = null)
    {
        await RestoreAsync(await SaveAsync(options), options);
        Guest.Resume();
    }

    public uint Open(TrustedApplicationManifest? manifest = null)
    {
        GuestMessage answer = Driver.OpenSession((manifest ?? CountingApplication.PerSession).Uuid);
        Assert.That(answer.ReturnCode, Is.Zero, "The session should open.");
        return answer.Session;
    }

    /// <summary>Adds, and returns the instance's and the session's counts.</summary>
    public (ulong Instance, ulong Session) Add(uint session, uint number)
    {
        GuestMessage answer = Driver.Send(Adding(session, number));
        Assert.That(answer.ReturnCode, Is.Zero, "The application should add.");
        return (answer.Parameters[1].A, answer.Parameters[1].B);
    }

    public static GuestMessage Adding(uint session, uint number, uint command = CountingApplication.Add) =>
        GuestBench.Invocation(session, command, GuestParameter.ValueIn(number, 0), GuestParameter.ValueOut());

    /// <summary>Starts a call with a page of its own and leaves it where it is.</summary>
    public PendingCall Start(GuestMessage message)
    {
        ulong page = Driver.AllocatePage();
        Driver.WriteMessage(page, message);
        return new PendingCall(
            page, Driver.Call(OpTeeSmc.CallWithRpcArgument, page >> 32, page), message.Parameters.Length);
    }

    /// <summary>Goes on with a call until it asks the guest for a command.</summary>
    public PendingCall UntilCommand(PendingCall call, uint command)
    {
        while (true)
        {
            if ((uint)call.Registers.X0 == OpTeeSmc.ReturnRpcCommand && Asked(call).Command == command)
            {
                return call;
            }

            call = Step(call);
        }
    }

    /// <summary>Serves a call until it ends, and reads its message.</summary>
    public GuestMessage Finish(PendingCall call)
    {
        while (call.Registers.X0 != OpTeeSmc.ReturnOk)
        {
            call = Step(call);
        }

        return Driver.ReadMessage(call.Page, call.Parameters);
    }

    public PendingCall Step(PendingCall call)
    {
        if ((uint)call.Registers.X0 == OpTeeSmc.ReturnRpcCommand)
        {
            Driver.WriteMessage(RpcPlace(call), Services.Serve(Asked(call)));
        }

        return call with { Registers = Driver.Call(OpTeeSmc.ReturnFromRpc, 0, 0, call.Registers.X3) };
    }

    public GuestMessage Asked(PendingCall call) => Driver.ReadMessage(RpcPlace(call));

    public async ValueTask DisposeAsync()
    {
        await Guest.DisposeAsync();
        Assert.That(Guest.Status, Is.EqualTo(GuestBench.Nothing), "Everything should be given back.");
        Memory.Dispose();
    }

    private static ulong RpcPlace(PendingCall call) => call.Page + (ulong)OpTeeMessage.Size(call.Parameters);
}
