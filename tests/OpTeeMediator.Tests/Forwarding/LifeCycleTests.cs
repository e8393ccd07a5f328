using OpTeeMediator.Backends;
using OpTeeMediator.Forwarding;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Testing.Forwarding;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Forwarding;

/// <summary>VMs and drivers that start and end.</summary>
internal sealed class LifeCycleTests : ForwarderFixture
{
    [Test]
    public void Create_WhenOpTeeIsFull_SaysSoAndTakesNoNumber()
    {
        _ = Bench.Create(0);
        _ = Bench.Create(1);

        Assert.That(() => Bench.Create(2),
            Throws.InstanceOf<TeeUnavailableException>().With.Message.Contains("no room"));
        Assert.That(Bench.World.VirtualMachines, Is.EqualTo(2));
    }

    [Test]
    public void Create_NumberIsTaken_IsRefusedWithoutAnSmc()
    {
        _ = Bench.Create(0, new OpTeeForwarderOptions { VirtualMachineId = 7 });

        Assert.That(() => Bench.Create(1, new OpTeeForwarderOptions { VirtualMachineId = 7 }),
            Throws.ArgumentException.With.Message.Contains("another VM"));
        Assert.That(Bench.OpTee.VirtualMachines, Has.Count.EqualTo(1));
    }

    [TestCase(0)]
    [TestCase(65535)]
    public void Create_WithANumberOutOfRange_IsRefused(int id) =>
        Assert.That(() => Bench.Create(0, new OpTeeForwarderOptions { VirtualMachineId = id }),
            Throws.InstanceOf<ArgumentOutOfRangeException>());

    [Test]
    public void Create_WithTooFewShadowPages_SaysHowManyAreNeeded()
    {
        OpTeeForwarderOptions options =
            new() { Limits = new OpTeeLimits { Calls = 64, PagesPerBuffer = 65536, Pages = 65536 } };

        Assert.That(() => Bench.Create(0, options),
            Throws.ArgumentException.With.Message.Contains($"{options.ShadowPages}"));
        Assert.That(Bench.OpTee.VirtualMachines, Is.Empty);
    }

    [TestCase(0xf5ul, "virtualization")]
    [TestCase(0xf9ul, "dynamic shared memory")]
    public void World_WithoutWhatIsNeeded_SaysSo(ulong capabilities, string missing)
    {
        FakeOpTee other = new(Bench.Ram) { Capabilities = capabilities };

        Assert.That(() => new HostOpTee(other),
            Throws.InstanceOf<TeeUnavailableException>().With.Message.Contains(missing));
    }

    [Test]
    public void World_WithoutOpTee_SaysSo() =>
        Assert.That(() => new HostOpTee(new NobodyThere()),
            Throws.InstanceOf<TeeUnavailableException>().With.Message.Contains("CALLS_UID"));

    [Test]
    public async Task CreateAndDispose_FiftyTimes_LeavesNothing()
    {
        for (int round = 0; round < 50; round++)
        {
            ForwardedVm vm = Bench.Create(round % 3);
            ForwardedVm other = Bench.Create((round + 1) % 3);
            _ = vm.Open();
            _ = vm.Share(ForwarderBench.Cookie, 5);
            await vm.Forwarder.DisposeAsync();
            Assert.That(other.Driver.Invoke(other.Open(), 0).ReturnCode, Is.Zero);
            await other.Forwarder.DisposeAsync();
        }

        Assert.That(Bench.OpTee.VirtualMachines, Is.Empty);
    }

    [Test]
    public async Task Dispose_WithASuspendedCall_EndsItsPins()
    {
        ForwardedVm vm = Bench.Create();
        uint session = vm.Open();
        _ = vm.Share(ForwarderBench.Cookie, 1);
        Bench.OpTee.OnInvoke = _ => [RpcStep.ForeignInterrupt];
        _ = vm.Start(ForwardedVm.Invocation(session, GuestParameter.RegisteredIn(0, 1, ForwarderBench.Cookie)), out _);
        Assert.That(vm.Status, Is.EqualTo(new OpTeeGuestStatus(1, 1, 1, 1)));

        await vm.Forwarder.DisposeAsync();

        Assert.That(vm.Memory.Pins, Is.Zero);
        Assert.That(vm.Status, Is.EqualTo(OpTeeGuestStatus.Nothing));
    }

    [Test]
    public async Task Dispose_WhileOpTeeIsAtWork_KeepsPinsUntilItReturns()
    {
        ForwardedVm vm = Bench.Create(options: new OpTeeForwarderOptions { ShutdownDeadline = TimeSpan.Zero });
        uint session = vm.Open();
        _ = vm.Share(ForwarderBench.Cookie, 1);
        using ManualResetEventSlim entered = new();
        using ManualResetEventSlim mayReturn = new();
        Bench.OpTee.OnCall = call =>
        {
            if (!call.FunctionId.IsFast)
            {
                entered.Set();
                mayReturn.Wait();
            }
        };
        Task call = Task.Run(() => vm.Driver.Invoke(session, 0));
        entered.Wait();

        await vm.Forwarder.DisposeAsync();

        Assert.That(vm.Memory.Pins, Is.EqualTo(1));
        Assert.That(Bench.OpTee.VirtualMachines, Has.Count.EqualTo(1));
        mayReturn.Set();
        await call;
        Assert.That(() => Bench.World.VirtualMachines, Is.Zero.After(10_000, 1));
        Assert.That(vm.Memory.Pins, Is.Zero);
    }

    [Test]
    public void ExchangeCapabilities_OfAnotherDriver_DropsWhatTheEarlierLeft()
    {
        ForwardedVm vm = Bench.Create();
        uint session = vm.Open();
        _ = vm.Share(ForwarderBench.Cookie, 2);
        Bench.OpTee.OnInvoke = _ => [RpcStep.ForeignInterrupt];
        SmcRegisters suspended = vm.Start(ForwardedVm.Invocation(session), out _);

        Assert.That(vm.Driver.Call(OpTeeSmc.ExchangeCapabilities).X0, Is.EqualTo(OpTeeSmc.ReturnOk));

        Assert.That(vm.Status, Is.EqualTo(OpTeeGuestStatus.Nothing));
        Assert.That(vm.Memory.Pins, Is.Zero);
        Assert.That(vm.Partition.Memory, Is.Empty);
        Assert.That(vm.Resume(suspended.X3).X0, Is.EqualTo(OpTeeSmc.ReturnResume));
        Assert.That(vm.Driver.Invoke(session, 0).ReturnCode, Is.EqualTo(FakeOpTee.BadParameters),
            "The session is gone.");
        _ = vm.Share(ForwarderBench.Cookie, 2);
    }

    [Test]
    public void ExchangeCapabilities_OfTheFirstDriver_DropsNothing()
    {
        ForwardedVm vm = Bench.Create();

        _ = vm.Driver.Call(OpTeeSmc.ExchangeCapabilities);

        Assert.That(Bench.OpTee.Calls.Count(call => call.X0 == OpTeeSmc.VmCreated), Is.EqualTo(1));
    }

    [Test]
    public void ExchangeCapabilities_WhenThePlaceIsTakenMeanwhile_IsRefusedUntilItIsFree()
    {
        Bench.OpTee.Capacity = 1;
        ForwardedVm vm = Bench.Create();
        _ = vm.Open();
        Bench.OpTee.OnCall = call => Bench.OpTee.Capacity = call.X0 == OpTeeSmc.VmDestroyed ? 0
            : Bench.OpTee.Capacity;
        Bench.OpTee.HasNoThreads = true; // so that the session cannot be closed

        Assert.That(vm.Driver.Call(OpTeeSmc.ExchangeCapabilities).X0, Is.EqualTo(OpTeeSmc.ReturnNotAvailable));
        Assert.That(vm.Driver.Call(OpTeeSmc.CallsUid).X0, Is.EqualTo(OpTeeSmc.ReturnNotAvailable));
        Bench.OpTee.OnCall = null;
        Bench.OpTee.HasNoThreads = false;
        Bench.OpTee.Capacity = 1;
        Assert.That(vm.Driver.Call(OpTeeSmc.ExchangeCapabilities).X0, Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(vm.Open(), Is.Not.Zero);
    }

    [Test]
    public void Create_MonitorThrowsAfterVmCreated_SendsVmDestroyed()
    {
        HostOpTee world = new(new LateThrower(Bench.OpTee));
        PartitionedMemory memory = Bench.MemoryOf(0);

        Assert.That(() => new OpTeeForwarder(world, memory, memory, new OpTeeForwarderOptions()),
            Throws.InvalidOperationException);

        Assert.That(Bench.OpTee.Calls.Any(call => call.X0 == OpTeeSmc.VmCreated), Is.True);
        Assert.That(Bench.OpTee.VirtualMachines, Is.Empty);
        Assert.That(world.VirtualMachines, Is.Zero);
    }

    [TestCase(OpTeeSmc.VmDestroyed)]
    [TestCase(OpTeeSmc.VmCreated)]
    public async Task ExchangeCapabilities_WhenTheMonitorThrows_CanBeTriedAgain(uint functionId)
    {
        ForwardedVm vm = Bench.Create();
        _ = vm.Open();
        Bench.OpTee.OnCall = call => _ = call.X0 == functionId ? throw new InvalidOperationException("no monitor") : 0;
        Bench.OpTee.HasNoThreads = true; // so that the session cannot be closed
        Assert.That(vm.Driver.Call(OpTeeSmc.ExchangeCapabilities).X0, Is.EqualTo(OpTeeSmc.ReturnNotAvailable));
        Bench.OpTee.OnCall = null;
        Bench.OpTee.HasNoThreads = false;

        Assert.That(vm.Driver.Call(OpTeeSmc.ExchangeCapabilities).X0, Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(vm.Open(), Is.Not.Zero);
        await vm.Forwarder.DisposeAsync();
        Assert.That(Bench.OpTee.VirtualMachines, Is.Empty);
        Assert.That(Bench.World.VirtualMachines, Is.Zero);
    }

    [Test]
    public async Task Reset_AnyState_DropsAllAndLeavesAUsableHandler()
    {
        ForwardedVm vm = Bench.Create();
        _ = vm.Open();
        _ = vm.Share(ForwarderBench.Cookie, 2);

        await vm.Forwarder.ResetAsync();

        Assert.That(vm.Status, Is.EqualTo(OpTeeGuestStatus.Nothing));
        Assert.That(vm.Memory.Pins, Is.Zero);
        Assert.That(vm.Open(), Is.Not.Zero);
    }

    [Test]
    public async Task Reset_AfterDispose_Throws()
    {
        ForwardedVm vm = Bench.Create();
        await vm.Forwarder.DisposeAsync();

        Assert.That(vm.Forwarder.ResetAsync, Throws.InstanceOf<ObjectDisposedException>());
    }

    [Test]
    public async Task Handle_MonitorThrows_AnswersAndPinsStay()
    {
        ForwardedVm vm = Bench.Create();
        _ = vm.Share(ForwarderBench.Cookie, 1);
        Bench.OpTee.OnCall = _ => throw new InvalidOperationException("no monitor");

        uint answer = vm.Driver.TrySend(
            new GuestMessage(OpTeeMessage.CommandUnregisterSharedMemory,
            GuestParameter.RegisteredIn(0, 0, ForwarderBench.Cookie)));

        Assert.That(answer, Is.EqualTo(OpTeeSmc.ReturnNoMemory));
        Assert.That(vm.Memory.Pins, Is.EqualTo(1));
        Assert.That(vm.Driver.Call(OpTeeSmc.CallsUid).X0, Is.EqualTo(OpTeeSmc.ReturnNoMemory));
        Assert.That(Bench.Loggers.EventIds, Does.Contain(1301));
        Bench.OpTee.OnCall = null;
        await vm.Forwarder.DisposeAsync();
        Assert.That(vm.Memory.Pins, Is.EqualTo(1), "Nobody knows whether OP-TEE is at work on it.");
        Assert.That(Bench.OpTee.VirtualMachines, Is.Empty);
        Assert.That(Bench.Loggers.EventIds, Does.Contain(1306));
    }

    [Test]
    public void Handle_LoggerThrows_AnswersAsWithoutLogger()
    {
        ForwardedVm vm = Bench.Create();
        Bench.Loggers.OnMessage = () => throw new IOException("The disk is full.");

        for (int attempt = 0; attempt < 3; attempt++)
        {
            GuestMessage answer = vm.Driver.Register([0x1000], 0, 0x1000, ForwarderBench.Cookie);
            Assert.That(answer.ReturnCode, Is.EqualTo(FakeOpTee.BadParameters));
        }

        Assert.That(vm.Status, Is.EqualTo(OpTeeGuestStatus.Nothing));
    }

    [Test]
    public void Handle_GuestMemoryThrows_AnswersAsWithoutRam()
    {
        bool throws = false;
        ForwardedVm vm = Bench.Create(wrap: memory => new ThrowingMemory(memory, () => throws));
        uint session = vm.Open();
        throws = true;

        Assert.That(vm.Driver.TrySend(ForwardedVm.Invocation(session)), Is.EqualTo(OpTeeSmc.ReturnBadAddress));
        Assert.That(Bench.Loggers.EventIds, Does.Contain(1300));
        throws = false;
        Assert.That(vm.Driver.Invoke(session, 0).ReturnCode, Is.Zero);
    }

    [Test]
    public void ThreadLimit_OfOpTee_IsTheGuestsToo()
    {
        ForwardedVm vm = Bench.Create();
        uint session = vm.Open();
        Bench.OpTee.OnInvoke = _ => [RpcStep.ForeignInterrupt];
        SmcRegisters first = vm.Start(ForwardedVm.Invocation(session), out _);
        SmcRegisters second = vm.Start(ForwardedVm.Invocation(session), out _);

        Assert.That(vm.Start(ForwardedVm.Invocation(session), out _).X0, Is.EqualTo(OpTeeSmc.ReturnThreadLimit));
        Assert.That(vm.Resume(second.X3).X0, Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(vm.Resume(first.X3).X0, Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(vm.Start(ForwardedVm.Invocation(session), out _).X0,
            Is.EqualTo(OpTeeSmc.ReturnRpcForeignInterrupt));
    }

    [Test]
    public void ThreadLimit_WithNoCallOfTheGuestInFlight_IsNoMemory()
    {
        // Linux would sleep until a call of its own ends.
        ForwardedVm vm = Bench.Create();
        uint session = vm.Open();
        Bench.OpTee.HasNoThreads = true;

        Assert.That(vm.Start(ForwardedVm.Invocation(session), out _).X0, Is.EqualTo(OpTeeSmc.ReturnNoMemory));
    }

    private sealed class NobodyThere : ISecureMonitor
    {
        public void MakeCall(ref SmcRegisters registers) => registers.X0 = SmcccReturn.NotSupported;
    }

    /// <summary>Throws when OP-TEE has answered VM_CREATED.</summary>
    private sealed class LateThrower(ISecureMonitor inner) : ISecureMonitor
    {
        public void MakeCall(ref SmcRegisters registers)
        {
            bool throws = registers.X0 == OpTeeSmc.VmCreated;
            inner.MakeCall(ref registers);
            if (throws)
            {
                throw new InvalidOperationException("no monitor");
            }
        }
    }

    private sealed class ThrowingMemory(IGuestMemory inner, Func<bool> throws) : IGuestMemory
    {
        public bool TryRead(GuestAddress address, Span<byte> destination) => throws() ? throw new IOException("gone")
            : inner.TryRead(address, destination);

        public bool TryWrite(GuestAddress address, ReadOnlySpan<byte> source) => throws()
            ? throw new IOException("gone") : inner.TryWrite(address, source);

        public bool TryPin(GuestPages pages) => throws() ? throw new IOException("gone") : inner.TryPin(pages);

        public void Unpin(GuestPages pages) => inner.Unpin(pages);
    }
}
