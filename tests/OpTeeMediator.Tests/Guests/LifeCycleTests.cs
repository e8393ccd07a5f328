using Microsoft.Extensions.Logging.Abstractions;
using OpTeeMediator.Backends;
using OpTeeMediator.Calls;
using OpTeeMediator.Guests;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.SharedMemory;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Guests;

/// <summary>
/// Drivers that start again, guests that reboot, VMs that are destroyed, in whatever state their calls are.
/// </summary>
[Parallelizable(ParallelScope.All)]
internal sealed class LifeCycleTests
{
    private const ulong Cookie = 0xffff_0000_0938_5a80;
    private const uint BadParameters = 0xffff_0006;

    private static readonly GuestRange Ram = new(GuestBench.RamStart, GuestBench.RamLength);

    [Test]
    public async Task ExchangeCapabilities_NewDriver_FindsNothingOfTheOldOne()
    {
        await using GuestBench bench = Create();
        uint session = bench.Open();
        ulong[] pages = bench.Share(Cookie, 3);

        ulong answer = bench.Driver.Call(OpTeeSmc.ExchangeCapabilities, 0).X0;
        await Eventually(() => bench.Guest.Status == GuestBench.Nothing);

        Assert.That((answer, bench.Backend.OpenSessions, bench.Backend.RegisteredBuffers), Is.EqualTo((0ul, 0, 0)));
        Assert.That(bench.Ram.TryDiscard(new GuestRange(pages[0], 0x1000)));
        Assert.That(bench.Driver.Invoke(session, 0).ReturnCode, Is.EqualTo(BadParameters));
        Assert.That(bench.Driver.Register(pages, 0, 0x3000, Cookie).ReturnCode, Is.Zero,
            "The new driver may use the same cookie.");
        Assert.That(bench.Backend.Disposals, Is.Zero);
    }

    [Test]
    public async Task ExchangeCapabilities_OptionOff_KeepsEverything()
    {
        await using GuestBench bench = new(new OpTeeGuestOptions { ResetOnCapabilityExchange = false });
        uint session = bench.Open();
        _ = bench.Share(Cookie, 1);

        _ = bench.Driver.Call(OpTeeSmc.ExchangeCapabilities, 0);

        Assert.That(bench.Driver.Invoke(session, 0, GuestParameter.RegisteredIn(0, 1, Cookie)).ReturnCode, Is.Zero);
    }

    [Test]
    public async Task ExchangeCapabilities_NothingHeld_StaysAsItIs()
    {
        await using GuestBench bench = Create();

        Assert.That(Enumerable.Range(0, 100)
            .Select(_ => bench.Driver.Call(OpTeeSmc.ExchangeCapabilities, 1).X0), Is.All.Zero);
        Assert.That(bench.Loggers.EventIds, Does.Not.Contain(1003), "There was no driver to end.");
    }

    [Test]
    public async Task ExchangeCapabilities_CallSuspended_ItIsDroppedAndItsSlotComesBack()
    {
        await using GuestBench bench = Create(GuestBench.OneCall);
        TaskCompletionSource<TeeResult> end = new(TaskCreationOptions.RunContinuationsAsynchronously);
        bench.Backend.OnInvoke = _ => new ValueTask<TeeResult>(end.Task);
        PendingCall call = bench.StartInvoke(bench.Open());

        _ = bench.Driver.Call(OpTeeSmc.ExchangeCapabilities, 0);
        ulong resumed = bench.Resume(call).X0;
        ulong noSlot = bench.Driver.TrySend(FakeDriver.Opening(GuestBench.Application, default, 0));
        int cancellations = bench.Backend.Cancellations;
        end.SetResult(TeeResult.Success);

        // The old session counts no more for the guest; it is closed when its call has ended.
        await Eventually(() => bench.Guest.Status == GuestBench.Nothing && bench.Backend.OpenSessions == 0);

        // ETHREAD_LIMIT would make the new driver wait for a call of its own, and it has none.
        Assert.That((resumed, noSlot, cancellations),
            Is.EqualTo(((ulong)OpTeeSmc.ReturnResume, (ulong)OpTeeSmc.ReturnNoMemory, 1)));
        Assert.That(bench.Driver.ReadMessage(call.Page, 0).ReturnCode, Is.EqualTo(GuestMessage.Untouched),
            "That memory is the new kernel's.");
        Assert.That(bench.Driver.OpenSession(GuestBench.Application).ReturnCode, Is.Zero);
        Assert.That(() => bench.Backend.OpenSessions, Is.EqualTo(1).After(10_000, 5),
            "The old one is closed by the teardown.");
    }

    [Test]
    public async Task ExchangeCapabilities_RestartsFasterThanCallsEnd_NotAvailableUntilTheyDo()
    {
        await using GuestBench bench = Create();
        TaskCompletionSource<TeeResult> end = new(TaskCreationOptions.RunContinuationsAsynchronously);
        bench.Backend.OnOpen = _ => new ValueTask<TeeResult>(end.Task);
        List<ulong> answers = [];
        for (int round = 0; round < 6; round++)
        {
            _ = bench.Start(FakeDriver.Opening(GuestBench.Application, default, 0));
            answers.Add(bench.Driver.Call(OpTeeSmc.ExchangeCapabilities, 0).X0);
        }

        end.SetResult(TeeResult.Success);
        await Eventually(() => bench.Driver.Call(OpTeeSmc.ExchangeCapabilities, 0).X0 == 0);

        Assert.That(answers, Is.EqualTo((ulong[])[0, 0, 0, 0, 7, 7]));
    }

    /// <summary>As in the traces: probe, unbind, bind, and a shutdown that unregisters nothing.</summary>
    [TestCase(true)]
    [TestCase(false)]
    public async Task ProbeAndUnbind_ManyTimes_WorksEachTime(bool unregisters)
    {
        // A long quantum: each driver is torn down before the next one starts, however busy the computer is.
        await using GuestBench bench = Create(quantum: TimeSpan.FromSeconds(1));
        for (int round = 0; round < 20; round++)
        {
            Assert.That(bench.Driver.Call(OpTeeSmc.ExchangeCapabilities, 1).X0, Is.Zero);
            Assert.That(bench.Driver.Call(OpTeeSmc.DisableShmCache).X0, Is.EqualTo(OpTeeSmc.ReturnNotAvailable));
            Assert.That(bench.Driver.RegisterMessagePage(), Is.Zero);
            uint session = bench.Open();
            Assert.That(bench.Driver.CloseSession(session).ReturnCode, Is.Zero);
            Assert.That(unregisters ? bench.Driver.Unregister(FakeDriver.MessageCookie).ReturnCode : 0, Is.Zero);
        }

        Assert.That(await bench.DisposeGuestAsync(), Is.EqualTo(GuestBench.Nothing));
        Assert.That((bench.Backend.RegisteredBuffers, bench.Backend.Partitions, bench.Backend.Disposals),
            Is.EqualTo((0, 1, 1)));
    }

    [Test]
    public async Task ResetAsync_SessionsAndBuffers_AreFreedAndTheHandlerGoesOn()
    {
        await using GuestBench bench = Create();
        uint session = bench.Open();
        _ = bench.Share(Cookie, 600);

        await bench.Guest.ResetAsync();

        Assert.That((bench.Guest.Status, bench.Backend.OpenSessions, bench.Backend.RegisteredBuffers),
            Is.EqualTo((GuestBench.Nothing, 0, 0)));
        Assert.That(bench.Ram.TryDiscard(Ram));
        Assert.That(bench.Driver.Invoke(session, 0).ReturnCode, Is.EqualTo(BadParameters));
        Assert.That(bench.Driver.OpenSession(GuestBench.Application).ReturnCode, Is.Zero);
        Assert.That(bench.Backend.Disposals, Is.Zero);
    }

    [Test]
    public async Task ResetAsync_SessionsAndBuffers_BackendIsResetWhenTheyAreFreed()
    {
        (int, int) left = default;
        await using GuestBench bench = Create();
        _ = bench.Open();
        _ = bench.Share(Cookie, 1);
        bench.Backend.OnReset = () =>
        {
            left = (bench.Backend.OpenSessions, bench.Backend.RegisteredBuffers);
            return ValueTask.CompletedTask;
        };

        _ = bench.Driver.Call(OpTeeSmc.ExchangeCapabilities, 0);
        int resetsOfADriver = bench.Backend.Resets;
        _ = bench.Open();
        await bench.Guest.ResetAsync();

        Assert.That((resetsOfADriver, bench.Backend.Resets, left), Is.EqualTo((0, 1, (0, 0))));
    }

    [TestCase(false)]
    [TestCase(true)]
    public async Task ResetAsync_BackendThrows_IsLoggedAndTheHandlerGoesOn(bool isAsynchronous)
    {
        await using GuestBench bench = Create();
        bench.Backend.OnReset = async () =>
        {
            if (isAsynchronous)
            {
                await Task.Yield();
            }

            throw new InvalidOperationException("The backend fails.");
        };

        await bench.Guest.ResetAsync();

        Assert.That(bench.Loggers.EventIds, Does.Contain(1202));
        Assert.That(bench.Driver.OpenSession(GuestBench.Application).ReturnCode, Is.Zero);
    }

    [Test]
    public async Task ResetAsync_AfterDisposal_Throws()
    {
        GuestBench bench = Create();
        await bench.DisposeAsync();

        Assert.That(bench.Guest.ResetAsync, Throws.InstanceOf<ObjectDisposedException>());
    }

    [Test]
    public async Task DisposeAsync_ManyTimesAndAtOnce_PartitionEndsOnce()
    {
        await using GuestBench bench = Create();
        _ = bench.Open();
        _ = bench.Share(Cookie, 2);

        await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => Task.Run(async () => await bench.Guest.DisposeAsync())));

        Assert.That((bench.Backend.Disposals, bench.Backend.OpenSessions, bench.Backend.RegisteredBuffers),
            Is.EqualTo((1, 0, 0)));
        Assert.That(bench.Guest.Status, Is.EqualTo(GuestBench.Nothing));
        Assert.That(bench.Ram.TryDiscard(Ram));
    }

    [TestCase(false)]
    [TestCase(true)]
    public async Task DisposeAsync_CallSuspended_IsCancelledAndWaitedFor(bool onWorkers)
    {
        using ManualResetEventSlim gate = new(false);
        await using GuestBench bench = Create(backend: onWorkers ? GuestBench.OnWorkers() : new ScriptedBackend());
        bench.Backend.OnInvoke = _ => Blocking(gate, onWorkers);
        bench.Backend.OnCancel = _ => gate.Set();
        _ = bench.Share(Cookie, 1);
        PendingCall call = bench.StartInvoke(bench.Open(), GuestParameter.RegisteredIn(0, 1, Cookie));

        OpTeeGuestStatus left = await bench.DisposeGuestAsync();

        Assert.That((left, bench.Backend.OpenSessions, bench.Backend.RegisteredBuffers, bench.Backend.Disposals),
            Is.EqualTo((GuestBench.Nothing, 0, 0, 1)));
        Assert.That(bench.Resume(call).X0, Is.EqualTo(SmcccReturn.NotSupported));
        Assert.That(bench.Driver.ReadMessage(call.Page, 1).ReturnCode, Is.EqualTo(GuestMessage.Untouched));
        Assert.That(bench.Ram.TryDiscard(Ram));
    }

    [Test]
    public async Task DisposeAsync_VcpuInsideACall_ItGetsAnAnswer()
    {
        using ManualResetEventSlim gate = new(false);
        await using GuestBench bench = Create(backend: GuestBench.OnWorkers(), quantum: TimeSpan.FromSeconds(1));
        using ManualResetEventSlim begun = new(false);
        bench.Backend.OnInvoke = _ =>
        {
            begun.Set();
            return Blocking(gate, onWorkers: true);
        };
        bench.Backend.OnCancel = _ => gate.Set();
        uint session = bench.Open();
        Task<PendingCall> vcpu = Task.Factory.StartNew(() => bench.Start(GuestBench.Invocation(session, 0)),
            TaskCreationOptions.LongRunning);
        begun.Wait();

        OpTeeGuestStatus left = await bench.DisposeGuestAsync();
        PendingCall call = await vcpu;

        Assert.That((left, bench.Backend.Disposals), Is.EqualTo((GuestBench.Nothing, 1)));
        Assert.That(call.Registers.X0, Is.EqualTo(OpTeeSmc.ReturnOk).Or.EqualTo(0xffff_0004));
        Assert.That(bench.Driver.ReadMessage(call.Page, 0).ReturnCode, Is.EqualTo(GuestMessage.Untouched),
            "That memory may be another's by now.");
    }

    [TestCase(true)]
    [TestCase(false)]
    public async Task DisposeAsync_CallDraining_EverythingIsFreedOnce(bool closes)
    {
        using ManualResetEventSlim gate = new(false);
        await using GuestBench bench = Create(backend: GuestBench.OnWorkers());
        bench.Backend.OnInvoke = _ => Blocking(gate, onWorkers: true);
        bench.Backend.OnCancel = _ => gate.Set();
        uint session = bench.Open();
        _ = bench.Share(Cookie, 1);
        _ = bench.StartInvoke(session, GuestParameter.RegisteredIn(0, 1, Cookie));
        PendingCall draining = bench.Start(closes ? GuestBench.Closing(session) : GuestBench.Unregistering(Cookie));

        OpTeeGuestStatus left = await bench.DisposeGuestAsync();

        Assert.That(draining.Registers.X0, Is.EqualTo(0xffff_0004));
        Assert.That((left, bench.Backend.OpenSessions, bench.Backend.RegisteredBuffers, bench.Backend.Disposals),
            Is.EqualTo((GuestBench.Nothing, 0, 0, 1)));
        Assert.That(bench.Ram.TryDiscard(Ram));
    }

    [Test]
    public async Task DisposeAsync_SessionBeingOpened_IsClosedWhenItIsOpen()
    {
        await using GuestBench bench = Create();
        TaskCompletionSource<TeeResult> end = new(TaskCreationOptions.RunContinuationsAsynchronously);
        bench.Backend.OnOpen = _ => new ValueTask<TeeResult>(end.Task);
        bench.Backend.OnCancel = _ => end.SetResult(TeeResult.Success);
        _ = bench.Start(FakeDriver.Opening(GuestBench.Application, default, 0));

        OpTeeGuestStatus left = await bench.DisposeGuestAsync();

        Assert.That((left, bench.Backend.OpenSessions, bench.Backend.Disposals),
            Is.EqualTo((GuestBench.Nothing, 0, 1)));
    }

    [Test]
    public async Task DisposeAsync_CallOutlivesTheDeadline_IsFreedWhenItEnds()
    {
        using ManualResetEventSlim gate = new(false);
        await using GuestBench bench = Create(backend: GuestBench.OnWorkers(), deadline: TimeSpan.FromMilliseconds(20));
        bench.Backend.OnInvoke = _ => Blocking(gate, onWorkers: true);
        ulong[] pages = bench.Share(Cookie, 1);
        _ = bench.StartInvoke(bench.Open(), GuestParameter.RegisteredIn(0, 1, Cookie));

        OpTeeGuestStatus left = await bench.DisposeGuestAsync();
        (int sessions, int disposals, bool isFree) early = (bench.Backend.OpenSessions, bench.Backend.Disposals,
            bench.Ram.TryDiscard(new GuestRange(pages[0], 0x1000)));
        gate.Set();
        await Eventually(() => bench.Backend.Disposals == 1);

        Assert.That((left.CallsInFlight, left.Buffers), Is.EqualTo((1, 1)));
        Assert.That(early, Is.EqualTo((1, 0, false)), "Nothing is freed that the call still uses.");
        Assert.That(bench.Loggers.EventIds, Does.Contain(1200));
        Assert.That((bench.Guest.Status, bench.Backend.OpenSessions, bench.Backend.RegisteredBuffers),
            Is.EqualTo((GuestBench.Nothing, 0, 0)));
        Assert.That(bench.Ram.TryDiscard(Ram));
    }

    [TestCase(true)]
    [TestCase(false)]
    public async Task DisposeAsync_BackendFailsToFree_RestIsFreedAndTheFailureLogged(bool closing)
    {
        await using GuestBench bench = Create();
        bench.Backend.OnClose = closing ? () => throw new InvalidOperationException("close") : null;
        bench.Backend.OnUnregister = closing ? null : _ => throw new InvalidOperationException("unregister");
        _ = bench.Open();
        _ = bench.Open();
        _ = bench.Share(Cookie, 1);
        _ = bench.Share(Cookie + 1, 1);

        OpTeeGuestStatus left = await bench.DisposeGuestAsync();

        Assert.That((left, bench.Backend.OpenSessions, bench.Backend.RegisteredBuffers, bench.Backend.Disposals),
            Is.EqualTo((GuestBench.Nothing, 0, 0, 1)));
        Assert.That(bench.Loggers.EventIds.Count(id => id == 1201), Is.EqualTo(1));
        Assert.That(bench.Ram.TryDiscard(Ram));
    }

    /// <summary>A vCPU that read the present driver instance just before it was replaced comes to it when it is
    /// torn down already.</summary>
    [TestCase(OpTeeMessage.CommandOpenSession)]
    [TestCase(OpTeeMessage.CommandRegisterSharedMemory)]
    public async Task Start_DriverInstanceRetiredWithoutSuccessor_AnsweredAsAfterDisposal(uint command)
    {
        await using GuestBench bench = Create();
        MemoryBudget budget = new(8, 1000, 1000);
        NonThrowingGuestMemory memory = new(bench.Ram, NullLogger.Instance);
        DriverInstance driverInstance = new(8, 8);
        YieldingCalls calls = new(
            new CallEnvironment(
                "vm",
                memory,
                null,
                bench.Backend,
                TeeAccess.All,
                new SharedBufferPool(memory, budget),
                2,
                TimeSpan.FromMilliseconds(1),
                TimeSpan.FromMilliseconds(5),
                new NotificationQueue(null),
                new PauseControl(),
                bench.Loggers,
                new CallObserver("vm", null)),
            driverInstance);
        GuestParameter list =
            GuestParameter.PageList(bench.Driver.WritePageList([bench.Driver.AllocatePage()]), 0x1000, Cookie);
        bench.Driver.WriteMessage(
            bench.Driver.MessagePage,
            command == OpTeeMessage.CommandOpenSession ? FakeDriver.Opening(GuestBench.Application, default, 0)
                : new GuestMessage(command, list));
        SmcRegisters registers = default;
        registers.X0 = OpTeeSmc.CallWithArgument;
        registers.X2 = bench.Driver.MessagePage;

        driverInstance.Retire();
        CallSlot? held = null;
        _ = calls.Start(ref registers, ref held);

        Assert.That(registers.X0, Is.EqualTo(OpTeeSmc.ReturnUnknownFunction));
        Assert.That((bench.Backend.OpenSessions, bench.Backend.RegisteredBuffers, budget.Buffers, calls.Slots
            .CountOf(driverInstance)), Is.EqualTo((0, 0, 0, 0)));
    }

    [Test]
    public async Task DisposeAsync_VcpusCallAllTheTime_NothingIsLeft()
    {
        for (int round = 0; round < 30; round++)
        {
            await using GuestBench bench = Create();
            using CancellationTokenSource end = new();
            Task[] vcpus = [.. Enumerable.Range(0, 2).Select(index => Task.Factory.StartNew(
                () => OpenAndShare(bench, (ulong)index, end.Token), TaskCreationOptions.LongRunning))];
            await Task.Delay(5);
            await bench.Guest.ResetAsync();

            await bench.Guest.DisposeAsync();
            await end.CancelAsync();
            await Task.WhenAll(vcpus);

            // Not before the vCPUs have come to rest: one that is being refused holds a slot for that moment.
            Assert.That((bench.Guest.Status, bench.Backend.OpenSessions, bench.Backend.RegisteredBuffers,
                bench.Backend.Disposals), Is.EqualTo((GuestBench.Nothing, 0, 0, 1)));
            Assert.That(bench.Ram.TryDiscard(Ram));
        }
    }

    private static void OpenAndShare(GuestBench bench, ulong vcpu, CancellationToken end)
    {
        ulong page = GuestBench.FreePages + (vcpu * 0x3000);
        ulong cookie = vcpu << 32;
        while (!end.IsCancellationRequested)
        {
            bench.Driver.WriteMessage(page, FakeDriver.Opening(GuestBench.Application, default, 0));
            _ = bench.Driver.Call(OpTeeSmc.CallWithArgument, 0, page);
            bench.Driver.Write<ulong>(page + 0x1000, [page + 0x2000]);
            bench.Driver.WriteMessage(page, new GuestMessage(OpTeeMessage.CommandRegisterSharedMemory,
                GuestParameter.PageList(page + 0x1000, 0x1000, ++cookie)));
            _ = bench.Driver.Call(OpTeeSmc.CallWithArgument, 0, page);
        }
    }

    private static ValueTask<TeeResult> Blocking(ManualResetEventSlim gate, bool onWorkers)
    {
        if (onWorkers)
        {
            gate.Wait();
            return new(TeeResult.Success);
        }

        return new(Task.Factory.StartNew(
            () =>
            {
                gate.Wait();
                return TeeResult.Success;
            },
            TaskCreationOptions.LongRunning));
    }

    private static async Task Eventually(Func<bool> condition)
    {
        // Long enough for a machine under load; it takes milliseconds.
        using CancellationTokenSource end = new(TimeSpan.FromSeconds(20));
        while (!condition())
        {
            await Task.Delay(1, end.Token);
        }
    }

    private static GuestBench Create(OpTeeLimits? limits = null, ScriptedBackend? backend = null,
        TimeSpan? deadline = null, TimeSpan? quantum = null) => new(
        new OpTeeGuestOptions
        {
            Limits = limits ?? new OpTeeLimits(),
            ShutdownDeadline = deadline ?? TimeSpan.FromSeconds(20),
            Quantum = quantum ?? TimeSpan.FromMilliseconds(1),
        },
        backend);
}
