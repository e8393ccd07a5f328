using System.Collections.Immutable;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Remote;
using OpTeeMediator.Smccc;
using OpTeeMediator.State;
using OpTeeMediator.Testing;

namespace OpTeeMediator.RemoteTests;

/// <summary>A VM that is the client of a server.</summary>
internal sealed class RemoteVm : ISmcHandler, IAsyncDisposable
{
    private const ulong RamStart = 0x4000_0000;
    private const ulong RamLength = 16 << 20;

    private readonly MemfdGuestMemory _memory =
        MemfdGuestMemory.Create(new GuestRange(new GuestAddress(RamStart), RamLength));

    private readonly OpTeeGuestOptions _options;

    public RemoteVm(RemoteTeeOptions options, string name)
        : this(options, name, Guid.Empty)
    {
    }

    public RemoteVm(RemoteTeeOptions options, string name, Guid identity)
    {
        _options = new OpTeeGuestOptions { LoggerFactory = Log, Name = name, Identity = identity };
        Guest = new OpTeeGuest(_memory, new RemoteTeeBackend(options), _options);
        GuestRange half = new(new GuestAddress(RamStart), RamLength / 2);
        Driver = new FakeDriver(this, _memory, half);
        OtherDriver = new FakeDriver(this, _memory, new GuestRange(half.End, half.Length));
        Driver.OnRpc = new RpcServices(Driver).Serve;
        OtherDriver.OnRpc = new RpcServices(OtherDriver).Serve;
    }

    public LogList Log { get; } = new();

    public OpTeeGuest Guest { get; private set; }

    public FakeDriver Driver { get; }

    /// <summary>The same driver on another vCPU.</summary>
    public FakeDriver OtherDriver { get; }

    public ImmutableArray<SmcFunctionRange> Ranges => Guest.Ranges;

    public SmcOutcome Handle(ref SmcRegisters registers, SmcRegisterSet loaded) =>
        Guest.Handle(ref registers, loaded);

    /// <summary>Pauses and saves; the VM stays paused.</summary>
    public async Task<byte[]> SaveAsync(bool drops = false)
    {
        Assert.That(await Guest.PauseAsync(), "The VM should come to a halt.");
        return await Guest.SaveAsync(new OpTeeStateOptions { DropsWhatCannotMove = drops });
    }

    /// <summary>Goes on with a state at a server; the mediator of before is ended.</summary>
    public async Task RestoreAsync(RemoteTeeOptions options, byte[] state)
    {
        OpTeeGuest restored = await OpTeeGuest.RestoreAsync(
            _memory, new RemoteTeeBackend(options), _options, state, new OpTeeStateOptions());
        await Guest.DisposeAsync();
        Guest = restored;
        Guest.Resume();
    }

    /// <summary>Opens a session, as soon as the VMM has reached its server.</summary>
    public uint Open()
    {
        GuestMessage? answer = null;
        Waiting.Until(
            () => (answer = Driver.OpenSession(RemoteBench.Application)).ReturnCode == 0, "The opening of a session");
        return answer!.Session;
    }

    /// <summary>Invokes a command that gets 1 and 2, and has two values to return.</summary>
    public GuestMessage Invoke(uint session, uint command) =>
        Driver.Invoke(session, command, GuestParameter.ValueInOut(1, 2), GuestParameter.ValueOut());

    /// <summary>Begins a command, and does not wait for its end.</summary>
    public SmcRegisters Start(uint session, uint command) => Driver.Start(
        new GuestMessage(OpTeeMessage.CommandInvoke) { Session = session, Function = command });

    /// <summary>Whether the TEE answers.</summary>
    public void AssertServed() => Assert.That(
        Invoke(Open(), CommandBackend.Add) is { ReturnCode: 0, Parameters: [{ A: 3 }, _] }, Is.True);

    public async ValueTask DisposeAsync()
    {
        await Guest.DisposeAsync();
        _memory.Dispose();
        Log.Dispose();
    }
}
