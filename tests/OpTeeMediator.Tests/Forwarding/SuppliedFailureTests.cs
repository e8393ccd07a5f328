using OpTeeMediator.Backends;
using OpTeeMediator.Forwarding;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Testing.Forwarding;
using OpTeeMediator.Testing.Supplied;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Forwarding;

/// <summary>Each call of what the VMM supplies fails once in a scripted conversation: nothing is thrown at the guest,
/// and all goes on.</summary>
internal sealed class SuppliedFailureTests
{
    private const ulong GuestLength = 1 << 20;

    private static readonly ArrayRam Ram = ForwarderBench.CreateRam();

    private static IEnumerable<string> Methods { get; } = CountCalls().Keys.Order();

    [TestCaseSource(nameof(Methods))]
    public async Task Handle_EachCallOfASuppliedMethodThrows_NothingIsLost(string method)
    {
        int calls = CountCalls()[method];
        Assert.That(calls, Is.Positive);
        for (int number = 1; number <= calls; number++)
        {
            FailurePlan plan = new(method, number, default);
            await RunAsync(plan, $"call {number} of {method}");
            Assert.That(plan.HasFailed, $"call {number} of {method}");
        }
    }

    [Test]
    public async Task Create_EachCallOfASuppliedMethodThrows_LeavesNothing()
    {
        FailurePlan counted = new();
        await Create(new ForwarderBench(Ram, monitor => new FailingMonitor(monitor, counted)), counted,
            out _).Forwarder.DisposeAsync();
        foreach ((string method, int calls) in counted.Calls.ToArray())
        {
            for (int number = 1; number <= calls; number++)
            {
                FailurePlan plan = new(method, number, default);
                ForwarderBench? bench = null;
                Exception? thrown = null;
                try
                {
                    bench = new ForwarderBench(Ram, monitor => new FailingMonitor(monitor, plan));
                    await Create(bench, plan, out _).Forwarder.DisposeAsync();
                }
                catch (SuppliedPartException exception)
                {
                    thrown = exception;
                }

                Assert.That(plan.HasFailed, $"call {number} of {method}");
                if (bench is not null && thrown is not null)
                {
                    plan.Disarm();
                    Assert.That(bench.OpTee.VirtualMachines, Is.Empty, $"call {number} of {method}");
                    Assert.That(bench.World.VirtualMachines, Is.Zero, $"call {number} of {method}");
                }
            }
        }
    }

    [Test]
    public async Task ExchangeCapabilities_AfterTheMonitorHasLostACall_GivesTheNextDriverATee()
    {
        FailurePlan plan = new();
        plan.Disarm();
        ForwarderBench bench = new(Ram);
        ForwardedVm vm = Create(bench, plan, out _);
        uint session = vm.Open();
        _ = vm.Share(ForwarderBench.Cookie, 3);
        bench.OpTee.OnCall = _ => throw new InvalidOperationException("no monitor");
        Assert.That(vm.Driver.TrySend(ForwardedVm.Invocation(session)), Is.EqualTo(OpTeeSmc.ReturnNoMemory));
        bench.OpTee.OnCall = null;

        Assert.That(vm.Driver.Call(OpTeeSmc.ExchangeCapabilities).X0, Is.EqualTo(OpTeeSmc.ReturnOk));

        AssertServed(vm);
        Assert.That(vm.Memory.Pins, Is.EqualTo(1), "OP-TEE may be at work on it.");
        Assert.That(vm.Driver.Call(OpTeeSmc.ExchangeCapabilities).X0, Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(bench.OpTee.Calls.Count(call => call.X0 == OpTeeSmc.VmDestroyed), Is.EqualTo(1), "Once is enough.");
        await vm.Forwarder.DisposeAsync();
        Assert.That(bench.OpTee.VirtualMachines, Is.Empty);
        Assert.That(bench.World.VirtualMachines, Is.EqualTo(1), "Its number stays taken.");
    }

    private static Dictionary<string, int> CountCalls()
    {
        FailurePlan plan = new();
        RunAsync(plan, "no failure").GetAwaiter().GetResult();
        return plan.Calls.Where(calls => calls.Value > 0).ToDictionary(calls => calls.Key, calls => calls.Value);
    }

    private static async Task RunAsync(FailurePlan plan, string what)
    {
        plan.Disarm();
        ForwarderBench bench = new(Ram, monitor => new FailingMonitor(monitor, plan));
        ForwardedVm vm = Create(bench, plan, out CheckedHandler handler);
        ForwardedVm other = bench.Create(1);
        AssertServed(other);
        plan.Arm();
        await ConverseAsync(vm);
        plan.Disarm();
        Assert.That(handler.Thrown, Is.Null, what);

        // The next driver has a TEE, at the latest at its second attempt.
        bench.OpTee.OnInvoke = null;
        uint answer = (uint)vm.Driver.Call(OpTeeSmc.ExchangeCapabilities).X0;
        answer = answer == OpTeeSmc.ReturnOk ? answer : (uint)vm.Driver.Call(OpTeeSmc.ExchangeCapabilities).X0;
        Assert.That(answer, Is.EqualTo(OpTeeSmc.ReturnOk), what);
        AssertServed(vm);
        AssertServed(other);

        bool isMonitor = plan.Method is { } method && method.StartsWith("MakeCall", StringComparison.Ordinal);
        bool hasFailedCall = vm.Status.CallsInFlight > 0;
        bool arePinsUnknown = plan.Method is nameof(IGuestMemory.TryPin) or nameof(IGuestMemory.Unpin);
        Assert.That(hasFailedCall, Is.False.Or.EqualTo(isMonitor), what);
        OpTeeForwarder forwarder = vm.Forwarder;
        if (!hasFailedCall)
        {
            Assert.That(vm.Status, Is.EqualTo(OpTeeGuestStatus.Nothing), what);
            Assert.That(forwarder.FreeShadowPages,
                Is.EqualTo(new OpTeeForwarderOptions().ShadowPages - bench.OpTee.Threads), what);
            Assert.That(vm.Memory.Pins, arePinsUnknown ? Is.LessThanOrEqualTo(1) : Is.Zero, what);
        }

        Assert.That(vm.Partition.Memory, Is.Empty, what);
        Assert.That(vm.Partition.Sessions, Is.Empty, what);
        await forwarder.DisposeAsync();
        Assert.That(bench.OpTee.VirtualMachines, Is.EqualTo(new[] { other.Forwarder.VirtualMachineId }), what);
        Assert.That(bench.World.VirtualMachines, Is.EqualTo(hasFailedCall ? 2 : 1), what);
        AssertServed(other);
        await other.Forwarder.DisposeAsync();
    }

    private static ForwardedVm Create(ForwarderBench bench, FailurePlan plan, out CheckedHandler handler)
    {
        PartitionedMemory memory = bench.MemoryOf(0);
        OpTeeForwarderOptions options = new()
        {
            LoggerFactory = new FailingLoggerFactory(plan),
            NotificationInterrupt = new FailingInterruptLine(plan),
        };
        OpTeeForwarder forwarder =
            new(bench.World, new FailingGuestMemory(memory, plan), new FailingPhysicalMemory(memory, plan), options);
        handler = new CheckedHandler(forwarder);
        FakeDriver driver = new(handler, memory, new GuestRange(ForwarderBench.GuestStart, GuestLength));
        driver.OnRpc = new RpcServices(driver).Serve;
        return new ForwardedVm(bench, memory, forwarder, driver);
    }

    /// <summary>All that a guest and its VMM do, whatever they are answered.</summary>
    private static async Task ConverseAsync(ForwardedVm vm)
    {
        FakeOpTee opTee = vm.Bench.OpTee;
        opTee.OnInvoke = Serve;
        FakeDriver driver = vm.Driver;
        driver.OnRpc = new RpcServices(driver).Serve;
        ulong[] pages = driver.AllocatePages(3, 2);
        ulong list = driver.WritePageList(pages);
        GuestMessage registration =
            new(OpTeeMessage.CommandRegisterSharedMemory, GuestParameter.PageList(list, 0x3000, ForwarderBench.Cookie));
        GuestMessage unregistration =
            new(OpTeeMessage.CommandUnregisterSharedMemory, GuestParameter.RegisteredIn(0, 0, ForwarderBench.Cookie));
        foreach (uint conduit in new[] { OpTeeSmc.CallWithRpcArgument, OpTeeSmc.CallWithArgument })
        {
            Try(() => driver.Call(OpTeeSmc.ExchangeCapabilities));
            Try(() => driver.Call(OpTeeSmc.EnableAsyncNotification));
            vm.Forwarder.OnNotificationInterrupt();
            Try(() => driver.Call(OpTeeSmc.GetAsyncNotificationValue));
            driver.Conduit = conduit;
            Try(() => driver.Call(conduit == OpTeeSmc.CallWithArgument ? OpTeeSmc.EnableShmCache : OpTeeSmc.CallsUid));
            Try(() => driver.TrySend(registration));
            Try(() => driver.TrySend(registration));
            uint session = 0;
            Try(() => session = driver.OpenSession(ForwarderBench.Application).Session);
            GuestMessage invocation = ForwardedVm.Invocation(session,
                GuestParameter.RegisteredInOut(0, 8, ForwarderBench.Cookie), GuestParameter.ValueOut());
            Try(() => driver.TrySend(invocation));
            Try(() => driver.TrySend(invocation with { Parameters = [GuestParameter.RegisteredIn(0, 8, 4711)] }));
            Try(() => driver.TrySend(unregistration));
            Try(() => driver.TrySend(new GuestMessage(OpTeeMessage.CommandCloseSession) { Session = session }));
            Try(() => driver.Call(OpTeeSmc.DisableShmCache));

            // What the next driver finds.
            Try(() => driver.TrySend(registration));
            Try(() => session = driver.OpenSession(ForwarderBench.Application).Session);
            Try(() => driver.Step(
                driver.Start(
                    ForwardedVm.Invocation(session, GuestParameter.RegisteredInOut(0, 8, ForwarderBench.Cookie)))));
            driver.RpcMemory.Clear();
        }

        Try(() => driver.Call(OpTeeSmc.ExchangeCapabilities));
        Try(() => driver.TrySend(registration));
        try
        {
            await vm.Forwarder.ResetAsync();
        }
        catch (TeeUnavailableException)
        {
        }

        Try(() => driver.TrySend(registration));
        Try(() => _ = driver.OpenSession(ForwarderBench.Application));

        static IEnumerable<RpcStep> Serve(FakeThread thread)
        {
            yield return RpcStep.ForeignInterrupt;
            int before = thread.Partition.Memory.Count;
            foreach (RpcStep step in thread.Ask(OpTeeRpc.GetTime, GuestParameter.ValueOut())
                .Concat(thread.Allocate(0x2000)))
            {
                yield return step;
            }

            if (thread.Partition.Memory.Count > before
                && thread.Partition.Memory[0] is { IsGuarded: true, Cookie: not 0 } memory
                && memory.Cookie != thread.RpcCookie)
            {
                foreach (RpcStep step in thread.Free(memory.Cookie))
                {
                    yield return step;
                }
            }
        }
    }

    /// <summary>What a driver needs works, from its beginning to its end.</summary>
    private static void AssertServed(ForwardedVm vm)
    {
        FakeDriver driver =
            new(vm.Forwarder, vm.Memory, new GuestRange(ForwarderBench.GuestStart + GuestLength, GuestLength));
        driver.OnRpc = new RpcServices(driver).Serve;
        vm.Bench.OpTee.OnInvoke = thread => thread.Ask(OpTeeRpc.GetTime, GuestParameter.ValueOut());
        uint session = driver.OpenSession(ForwarderBench.Application).Session;
        Assert.That(session, Is.Not.Zero);
        Assert.That(driver.Register(driver.AllocatePages(3, 2), 0, 0x3000, ForwarderBench.Cookie + 1).ReturnCode,
            Is.Zero);
        Assert.That(driver.Invoke(session, 0, GuestParameter.RegisteredIn(0, 8, ForwarderBench.Cookie + 1)).ReturnCode,
            Is.Zero);
        Assert.That(driver.Unregister(ForwarderBench.Cookie + 1).ReturnCode, Is.Zero);
        Assert.That(driver.CloseSession(session).ReturnCode, Is.Zero);
        vm.Bench.OpTee.OnInvoke = null;
    }

    private static void Try(Func<object?> call)
    {
        try
        {
            _ = call();
        }
        catch (InvalidOperationException)
        {
            // The driver did not expect this answer.
        }
    }

    private static void Try(Action call) => Try(() =>
    {
        call();
        return null;
    });

    /// <summary>Remembers what a handler throws.</summary>
    private sealed class CheckedHandler(ISmcHandler inner) : ISmcHandler
    {
        public Exception? Thrown { get; private set; }

        public System.Collections.Immutable.ImmutableArray<SmcFunctionRange> Ranges => inner.Ranges;

        public SmcOutcome Handle(ref SmcRegisters registers, SmcRegisterSet loaded)
        {
            try
            {
                return inner.Handle(ref registers, loaded);
            }
            catch (Exception exception)
            {
                Thrown = exception;
                throw;
            }
        }
    }
}
