using OpTeeMediator.Forwarding;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Testing.Forwarding;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Forwarding;

/// <summary>A driver that starts after another one: what that left in OP-TEE is released without destroying the
/// VM.</summary>
internal sealed class DriverRestartTests : ForwarderFixture
{
    private const uint NoTee = OpTeeSmc.ReturnNotAvailable;

    private int Destructions => Bench.OpTee.Calls.Count(call => call.X0 == OpTeeSmc.VmDestroyed);

    [Test]
    public void ExchangeCapabilities_FiveHundredTimesWithARegisteredPage_NeverDestroysTheVm()
    {
        ForwardedVm vm = Bench.Create();
        ForwardedVm other = Bench.Create(1);
        uint session = other.Open();
        ulong[] page = vm.Driver.AllocatePages(1, 1);
        ulong list = vm.Driver.WritePageList(page);
        for (int restart = 0; restart < 500; restart++)
        {
            GuestMessage answer = vm.Driver.Send(
                new GuestMessage(OpTeeMessage.CommandRegisterSharedMemory,
                GuestParameter.PageList(list, 0x1000, ForwarderBench.Cookie)));
            Assert.That(answer.ReturnCode, Is.Zero);
            Assert.That(vm.Driver.Call(OpTeeSmc.ExchangeCapabilities).X0, Is.EqualTo(OpTeeSmc.ReturnOk));
            Assert.That(other.Driver.Invoke(session, 0).ReturnCode, Is.Zero);
        }

        Assert.That(Destructions, Is.Zero);
        AssertNothingIsLeft(vm);
    }

    [TestCase(OpTeeSmc.ReturnRpcAllocate, OpTeeSmc.CallWithArgument)]
    [TestCase(OpTeeSmc.ReturnRpcFree, OpTeeSmc.CallWithArgument)]
    [TestCase(OpTeeSmc.ReturnRpcCommand, OpTeeSmc.CallWithArgument)]
    [TestCase(OpTeeSmc.ReturnRpcCommand, OpTeeSmc.CallWithRpcArgument)]
    [TestCase(OpTeeSmc.ReturnRpcForeignInterrupt, OpTeeSmc.CallWithRpcArgument)]
    [TestCase(0xffff_0009u, OpTeeSmc.CallWithRpcArgument)]
    public void ExchangeCapabilities_CallSuspendedInAnRpc_EndsIt(uint rpc, uint conduit)
    {
        ForwardedVm vm = Bench.Create();
        vm.Driver.Conduit = conduit;
        vm.Driver.OnRpc = new RpcServices(vm.Driver).Serve;
        uint session = vm.Open();
        _ = vm.Share(ForwarderBench.Cookie, 2);
        uint answer = 0;
        Bench.OpTee.OnInvoke = Serve;
        SmcRegisters suspended =
            vm.Driver.Start(ForwardedVm.Invocation(session, GuestParameter.RegisteredIn(0, 1, ForwarderBench.Cookie)));
        while (suspended.X0 != rpc)
        {
            suspended = vm.Driver.Step(suspended);
        }

        Assert.That(vm.Driver.Call(OpTeeSmc.ExchangeCapabilities).X0, Is.EqualTo(OpTeeSmc.ReturnOk));

        AssertNothingIsLeft(vm);
        Assert.That(Destructions, Is.Zero);
        Assert.That(vm.Resume(suspended.X3).X0, Is.EqualTo(OpTeeSmc.ReturnResume),
            "The earlier driver's call has ended.");
        Assert.That(vm.Driver.Invoke(session, 0).ReturnCode, Is.EqualTo(FakeOpTee.BadParameters),
            "Its session is closed.");
        Assert.That(answer, Is.EqualTo(rpc == OpTeeSmc.ReturnRpcCommand ? 0xffff_000e : 0),
            "TEE_ERROR_COMMUNICATION, as without a supplicant");
        vm.Driver.RpcMemory.Clear();
        Bench.OpTee.OnInvoke = null;
        Assert.That(vm.Driver.Invoke(vm.Open(), 0).ReturnCode, Is.Zero);

        IEnumerable<RpcStep> Serve(FakeThread thread)
        {
            if (rpc is not (OpTeeSmc.ReturnRpcAllocate or OpTeeSmc.ReturnRpcCommand or OpTeeSmc.ReturnRpcFree))
            {
                yield return new RpcStep(rpc, 0);
                yield break;
            }

            foreach (RpcStep step in thread.Ask(OpTeeRpc.FileSystem, GuestParameter.ValueIn(1, 2)))
            {
                yield return step;
            }

            answer = rpc == OpTeeSmc.ReturnRpcCommand ? thread.RpcAnswer : 0;
        }
    }

    [Test]
    public void ExchangeCapabilities_CallThatAllocatesAndFrees_TakesItsMemoryBack()
    {
        ForwardedVm vm = Bench.Create();
        vm.Driver.OnRpc = new RpcServices(vm.Driver).Serve;
        uint session = vm.Open();
        bool isSecondRefused = false;
        Bench.OpTee.OnInvoke = Serve;
        SmcRegisters suspended = vm.Driver.Start(ForwardedVm.Invocation(session));
        while (suspended.X0 != OpTeeSmc.ReturnRpcForeignInterrupt)
        {
            suspended = vm.Driver.Step(suspended);
        }

        Assert.That(vm.Memory.Pins, Is.EqualTo(1));

        Assert.That(vm.Driver.Call(OpTeeSmc.ExchangeCapabilities).X0, Is.EqualTo(OpTeeSmc.ReturnOk));

        AssertNothingIsLeft(vm);
        Assert.That(isSecondRefused, "No memory of a driver that has gone.");
        Assert.That(Destructions, Is.Zero);

        IEnumerable<RpcStep> Serve(FakeThread thread)
        {
            foreach (RpcStep step in thread.Allocate(0x2000))
            {
                yield return step;
            }

            ulong cookie = thread.Partition.Memory[0].Cookie;
            yield return RpcStep.ForeignInterrupt;
            foreach (RpcStep step in thread.Allocate(0x1000))
            {
                yield return step;
            }

            isSecondRefused = thread.RpcAnswer != 0;
            foreach (RpcStep step in thread.Free(cookie))
            {
                yield return step;
            }
        }
    }

    [Test]
    public void ExchangeCapabilities_MemoryThatOpTeeKeepsForItself_DestroysTheVm()
    {
        ForwardedVm vm = Bench.Create();
        vm.Driver.OnRpc = new RpcServices(vm.Driver).Serve;
        Bench.OpTee.OnInvoke = thread => thread.Allocate(0x2000);
        _ = vm.Driver.Invoke(vm.Open(), 0);

        Assert.That(vm.Driver.Call(OpTeeSmc.ExchangeCapabilities).X0, Is.EqualTo(OpTeeSmc.ReturnOk));

        Assert.That(Destructions, Is.EqualTo(1));
        AssertNothingIsLeft(vm);
    }

    [Test]
    public void ExchangeCapabilities_SessionThatIsBeingOpened_ClosesIt()
    {
        ForwardedVm vm = Bench.Create();
        Bench.OpTee.InterruptsCalls = true;
        SmcRegisters opening = vm.Driver.Start(FakeDriver.Opening(ForwarderBench.Application, default, 0));
        Assert.That(opening.X0, Is.EqualTo(OpTeeSmc.ReturnRpcForeignInterrupt));
        byte[] before = new byte[256];
        vm.Driver.Read<byte>(vm.Driver.MessagePage, before);
        Bench.OpTee.InterruptsCalls = false;

        Assert.That(vm.Driver.Call(OpTeeSmc.ExchangeCapabilities).X0, Is.EqualTo(OpTeeSmc.ReturnOk));

        AssertNothingIsLeft(vm);
        byte[] after = new byte[256];
        vm.Driver.Read<byte>(vm.Driver.MessagePage, after);
        Assert.That(after, Is.EqualTo(before),
            "The earlier driver's results go nowhere: its memory may be the new one's.");
    }

    [Test]
    public void ExchangeCapabilities_CachedRpcBuffer_TakesItBack()
    {
        ForwardedVm vm = Bench.Create();
        vm.Driver.Conduit = OpTeeSmc.CallWithArgument;
        vm.Driver.OnRpc = new RpcServices(vm.Driver).Serve;
        _ = vm.Driver.Call(OpTeeSmc.EnableShmCache);
        Bench.OpTee.OnInvoke = thread => thread.Ask(OpTeeRpc.GetTime, GuestParameter.ValueOut());
        _ = vm.Driver.Invoke(vm.Open(), 0);
        Assert.That(vm.Memory.Pins, Is.EqualTo(1));

        Assert.That(vm.Driver.Call(OpTeeSmc.ExchangeCapabilities).X0, Is.EqualTo(OpTeeSmc.ReturnOk));

        AssertNothingIsLeft(vm);
        Assert.That(vm.Partition.CachesRpcBuffers, Is.False);
        Assert.That(Destructions, Is.Zero);
    }

    [Test]
    public void ExchangeCapabilities_CallThatComputes_DelaysTheNewDriversCalls(
        [Values(OpTeeSmc.CallWithArgument, OpTeeSmc.CallWithRpcArgument)] uint conduit)
    {
        ForwardedVm vm =
            Bench.Create(options: new OpTeeForwarderOptions { ShutdownDeadline = TimeSpan.FromMinutes(10) });
        bool computes = true;
        Bench.OpTee.OnInvoke = _ => Compute(() => computes);
        _ = vm.Driver.Start(ForwardedVm.Invocation(vm.Open()));
        int before = Bench.OpTee.Calls.Count;

        Assert.That(vm.Driver.Call(OpTeeSmc.ExchangeCapabilities).X0, Is.EqualTo(OpTeeSmc.ReturnOk));

        Assert.That(Bench.OpTee.Calls, Has.Count.EqualTo(before + 2),
            "One step of the computation: its interrupt is the guest's to take.");
        Bench.OpTee.OnInvoke = null;
        Assert.That(vm.Driver.Call(OpTeeSmc.CallWithRegisteredArgument, 0, 1, 0).X0,
            Is.EqualTo(OpTeeSmc.ReturnBadAddress));
        vm.Driver.Conduit = conduit;
        SmcRegisters opening = vm.Driver.Start(FakeDriver.Opening(ForwarderBench.Application, default, 0));
        for (int attempt = 0; attempt < 20; attempt++)
        {
            Assert.That(opening.X0, Is.EqualTo(OpTeeSmc.ReturnRpcForeignInterrupt));
            opening = vm.Driver.Step(opening);
        }

        Assert.That(Bench.OpTee.Calls, Has.Count.EqualTo(before + 2 + 21), "One step for each attempt.");
        computes = false;
        Assert.That(vm.Driver.Finish(opening), Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(vm.Driver.Call(OpTeeSmc.ReturnFromRpc, opening.X1, opening.X2, opening.X3).X0,
            Is.EqualTo(OpTeeSmc.ReturnResume), "It begins once.");
        Assert.That(vm.Partition.Sessions, Has.Count.EqualTo(1), "The new driver's");
        Assert.That(vm.Status, Is.EqualTo(new OpTeeGuestStatus(0, 1, 0, 0)));
        Assert.That(Destructions, Is.Zero);
    }

    [Test]
    public void Handle_ResumeOfADelayedCall_NeedsItsRegisters()
    {
        ForwardedVm vm = Bench.Create();
        Bench.OpTee.OnInvoke = _ => Compute(() => true);
        _ = vm.Driver.Start(ForwardedVm.Invocation(vm.Open()));
        _ = vm.Driver.Call(OpTeeSmc.ExchangeCapabilities);
        SmcRegisters delayed = vm.Driver.Start(FakeDriver.Opening(ForwarderBench.Application, default, 0));
        delayed.X0 = OpTeeSmc.ReturnFromRpc;

        SmcOutcome outcome = vm.Forwarder.Handle(ref delayed, new SmcRegisterSet((1 << 0) | (1 << 3)));

        Assert.That(outcome, Is.EqualTo(SmcOutcome.NeedsRegisters(SmcRegisterSet.Range(0, 3))));
    }

    [Test]
    public void ExchangeCapabilities_NewDriverAsksForCacheAndNotifications_GetsThemAfterTheCleanup()
    {
        ForwardedVm vm = Bench.Create(options: new OpTeeForwarderOptions { NotificationInterrupt = new Line() });
        bool computes = true;
        Bench.OpTee.OnInvoke = _ => Compute(() => computes);
        _ = vm.Driver.Start(ForwardedVm.Invocation(vm.Open()));
        _ = vm.Driver.Call(OpTeeSmc.ExchangeCapabilities);
        Bench.OpTee.OnInvoke = null;
        int before = Bench.OpTee.Calls.Count;

        Assert.That(vm.Driver.Call(OpTeeSmc.EnableAsyncNotification).X0, Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(vm.Driver.Call(OpTeeSmc.DisableShmCache).X0, Is.EqualTo(NoTee),
            "The new driver has no buffers there.");
        Assert.That(vm.Driver.Call(OpTeeSmc.EnableShmCache).X0, Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(Bench.OpTee.Calls, Has.Count.EqualTo(before), "The cleanup would undo it.");
        computes = false;
        _ = vm.Open();

        Assert.That(vm.Partition.CachesRpcBuffers);
        Assert.That(Bench.OpTee.Calls.Count(call => call.X0 == OpTeeSmc.EnableAsyncNotification), Is.EqualTo(1));
    }

    [Test]
    public void ExchangeCapabilities_EarlierDriverTookNotifications_StopsThem()
    {
        Line line = new();
        ForwardedVm vm = Bench.Create(options: new OpTeeForwarderOptions { NotificationInterrupt = line });
        _ = vm.Driver.Call(OpTeeSmc.EnableAsyncNotification);
        List<uint> messages = [];
        Bench.OpTee.OnCall = call => messages.AddRange(call.X0 == OpTeeSmc.CallWithRpcArgument
            ? [BitConverter.ToUInt32(Bench.Ram.At(call.Pair(1, 2), 4))] : []);

        Assert.That(vm.Driver.Call(OpTeeSmc.ExchangeCapabilities).X0, Is.EqualTo(OpTeeSmc.ReturnOk));

        Assert.That(messages, Is.EqualTo(new[] { OpTeeMessage.CommandStopAsyncNotification }));
        vm.Forwarder.OnNotificationInterrupt();
        Assert.That(line.Pulses, Is.Zero);
    }

    [Test]
    public void ExchangeCapabilities_CallThatNeverEnds_DestroysTheVmAsOftenAsTheLimitSays()
    {
        ForwardedVm vm =
            Bench.Create(options: new OpTeeForwarderOptions { RecreationLimit = 3, ShutdownDeadline = TimeSpan.Zero });
        ForwardedVm other = Bench.Create(1);
        uint session = other.Open();
        bool computes = true;
        for (int restart = 0; restart < 3; restart++)
        {
            Hang();
            Assert.That(vm.Driver.Call(OpTeeSmc.ExchangeCapabilities).X0, Is.EqualTo(OpTeeSmc.ReturnOk));
            Assert.That(vm.Status, Is.EqualTo(OpTeeGuestStatus.Nothing));
        }

        Hang();
        for (int attempt = 0; attempt < 5; attempt++)
        {
            Assert.That(vm.Driver.Call(OpTeeSmc.ExchangeCapabilities).X0, Is.EqualTo(NoTee));
            Assert.That(vm.Driver.TrySend(FakeDriver.Opening(ForwarderBench.Application, default, 0)),
                Is.EqualTo(NoTee));
        }

        Assert.That(Destructions, Is.EqualTo(3));
        Assert.That(Bench.Loggers.EventIds.Count(id => id == 1308), Is.EqualTo(1));
        Assert.That(other.Driver.Invoke(session, 0).ReturnCode, Is.Zero);
        computes = false;
        Assert.That(vm.Driver.Call(OpTeeSmc.ExchangeCapabilities).X0, Is.EqualTo(OpTeeSmc.ReturnOk),
            "The call has ended after all.");
        Assert.That(vm.Open(), Is.Not.Zero);

        void Hang()
        {
            Bench.OpTee.OnInvoke = _ => Compute(() => computes);
            Assert.That(vm.Driver.Start(ForwardedVm.Invocation(vm.Open())).X0,
                Is.EqualTo(OpTeeSmc.ReturnRpcForeignInterrupt));
            Bench.OpTee.OnInvoke = null;
        }
    }

    [Test]
    public async Task Reset_BeyondTheLimit_CleansUpWithoutDestroyingTheVm()
    {
        ForwardedVm vm = Bench.Create(options: new OpTeeForwarderOptions { RecreationLimit = 2 });
        for (int reset = 0; reset < 10; reset++)
        {
            _ = vm.Share(ForwarderBench.Cookie, 2);
            _ = vm.Open();
            await vm.Forwarder.ResetAsync();
            AssertNothingIsLeft(vm);
        }

        Assert.That(Destructions, Is.EqualTo(2));
    }

    [Test]
    public async Task Reset_BeyondTheLimitWithACallThatNeverEnds_ThrowsAndTheGuestHasNoTeeUntilItEnds()
    {
        ForwardedVm vm =
            Bench.Create(options: new OpTeeForwarderOptions { RecreationLimit = 0, ShutdownDeadline = TimeSpan.Zero });
        bool computes = true;
        Bench.OpTee.OnInvoke = _ => Compute(() => computes);
        _ = vm.Driver.Start(ForwardedVm.Invocation(vm.Open()));

        Assert.That(vm.Forwarder.ResetAsync,
            Throws.InstanceOf<OpTeeMediator.Backends.TeeUnavailableException>().With.Message.Contains(
            "RecreationLimit"));
        Assert.That(vm.Driver.TrySend(FakeDriver.Opening(ForwarderBench.Application, default, 0)), Is.EqualTo(NoTee));
        computes = false;
        Assert.That(vm.Driver.Call(OpTeeSmc.ExchangeCapabilities).X0, Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(vm.Open(), Is.Not.Zero);
        await vm.Forwarder.DisposeAsync();
    }

    [Test]
    public async Task Dispose_DuringTheCleanup_DestroysTheVm()
    {
        ForwardedVm vm = Bench.Create();
        _ = vm.Share(ForwarderBench.Cookie, 2);
        Bench.OpTee.OnInvoke = _ => Compute(() => true);
        _ = vm.Driver.Start(ForwardedVm.Invocation(vm.Open()));
        _ = vm.Driver.Call(OpTeeSmc.ExchangeCapabilities);
        Assert.That(vm.Memory.Pins, Is.EqualTo(1), "The call may use it.");

        await vm.Forwarder.DisposeAsync();

        Assert.That(Bench.OpTee.VirtualMachines, Is.Empty);
        Assert.That(Bench.World.VirtualMachines, Is.Zero);
        Assert.That(vm.Memory.Pins, Is.Zero);
    }

    [TestCase(-1)]
    [TestCase(1_000_001)]
    public void Create_RecreationLimitOutOfRange_Throws(int limit) =>
        Assert.That(() => Bench.Create(options: new OpTeeForwarderOptions { RecreationLimit = limit }),
            Throws.InstanceOf<ArgumentOutOfRangeException>());

    private static IEnumerable<RpcStep> Compute(Func<bool> computes)
    {
        while (computes())
        {
            yield return RpcStep.ForeignInterrupt;
        }
    }

    private static void AssertNothingIsLeft(ForwardedVm vm)
    {
        Assert.That(vm.Status, Is.EqualTo(OpTeeGuestStatus.Nothing));
        Assert.That(vm.Memory.Pins, Is.Zero);
        Assert.That(vm.Partition.Memory, Is.Empty);
        Assert.That(vm.Partition.Sessions, Is.Empty);
        Assert.That(vm.Partition.Threads, Has.None.Matches<FakeThread>(thread => thread.IsSuspended));
    }

    private sealed class Line : IInterruptLine
    {
        public int Pulses { get; private set; }

        public int Spi => 40;

        public void Pulse() => Pulses++;
    }
}
