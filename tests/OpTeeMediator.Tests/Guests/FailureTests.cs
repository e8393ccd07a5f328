using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Testing.Supplied;
using OpTeeMediator.Tests.Rpc;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Guests;

/// <summary>Host faults: backends and guest memory that throw.</summary>
[Parallelizable(ParallelScope.All)]
internal sealed class FailureTests
{
    private const ulong Cookie = 0xffff_0000_0938_5a80;
    private const int BackendFailed = 1100;
    private const int UnpinFailed = 1103;

    /// <summary>How a backend fails.</summary>
    public enum Failure
    {
        /// <summary>In the call itself.</summary>
        Throws,

        /// <summary>In a task that has failed already.</summary>
        HasFailed,

        /// <summary>In a task that fails later.</summary>
        FailsLater,
    }

    [Test]
    public async Task Invoke_BackendFails_CommunicationAndOneLogEntry([Values] Failure failure, [Values] bool onWorkers)
    {
        await using GuestBench bench = Create(onWorkers);
        uint session = bench.Open();
        bench.Backend.OnInvoke = _ => Fail(failure);

        GuestMessage answer = bench.Driver.Invoke(session, 0, GuestParameter.ValueInOut(1, 2));
        bench.Backend.OnInvoke = null;

        Assert.That((answer.ReturnCode, answer.ReturnOrigin),
            Is.EqualTo((0xffff_000eu, (uint)TeeOrigin.Communication)));
        Assert.That(bench.Loggers.EventIds.Count(id => id == BackendFailed), Is.EqualTo(1));
        Assert.That(bench.Driver.Invoke(session, 0).ReturnCode, Is.Zero, "The session should be usable.");
    }

    [Test]
    public async Task OpenSession_BackendFails_CommunicationAndNoSession(
        [Values] Failure failure, [Values] bool onWorkers)
    {
        await using GuestBench bench = Create(onWorkers);
        bench.Backend.OnOpen = _ => Fail(failure);

        GuestMessage answer = bench.Driver.OpenSession(GuestBench.Application);
        bench.Backend.OnOpen = null;

        Assert.That((answer.ReturnCode, answer.ReturnOrigin, answer.Session),
            Is.EqualTo((0xffff_000eu, (uint)TeeOrigin.Communication, 0u)));
        Assert.That(bench.Loggers.EventIds.Count(id => id == BackendFailed), Is.EqualTo(1));
        Assert.That(bench.Guest.Status, Is.EqualTo(GuestBench.Nothing));
        Assert.That(bench.Open(), Is.Not.Zero);
    }

    [Test]
    public async Task OpenSession_BackendSetsNoSession_CommunicationAndOneLogEntry()
    {
        await using GuestBench bench = new(backend: null, wrap: null);
        await using OpTeeGuest guest =
            new(bench.Ram, new ForgetfulBackend(), new OpTeeGuestOptions { LoggerFactory = bench.Loggers });
        FakeDriver driver = new(guest, bench.Ram, new GuestRange(GuestBench.FreePages, 0x4000));

        GuestMessage answer = driver.OpenSession(GuestBench.Application);

        Assert.That((answer.ReturnCode, answer.ReturnOrigin, answer.Session),
            Is.EqualTo((0xffff_000eu, (uint)TeeOrigin.Communication, 0u)));
        Assert.That(bench.Loggers.EventIds.Count(id => id == BackendFailed), Is.EqualTo(1));
        Assert.That(guest.Status, Is.EqualTo(GuestBench.Nothing));
    }

    [Test]
    public async Task CloseSession_BackendFails_CommunicationAndSessionIsGone([Values] bool onWorkers)
    {
        await using GuestBench bench = Create(onWorkers);
        uint session = bench.Open();
        bench.Backend.OnClose = () => throw new InvalidOperationException("close");

        GuestMessage answer = bench.Driver.CloseSession(session);

        Assert.That((answer.ReturnCode, answer.ReturnOrigin),
            Is.EqualTo((0xffff_000eu, (uint)TeeOrigin.Communication)));
        Assert.That(bench.Guest.Status, Is.EqualTo(GuestBench.Nothing));
    }

    [Test]
    public async Task RegisterAndUnregister_BackendFails_CommunicationAndBufferIsGone([Values] bool onWorkers)
    {
        await using GuestBench bench = Create(onWorkers);
        ulong page = bench.Driver.AllocatePage();
        bench.Backend.OnRegister = _ => throw new InvalidOperationException("register");
        uint registered = bench.Driver.Register([page], 0, 0x1000, Cookie).ReturnCode;
        OpTeeGuestStatus afterRegister = bench.Guest.Status;
        bench.Backend.OnRegister = null;
        bench.Backend.OnUnregister = _ => throw new InvalidOperationException("unregister");
        _ = bench.Driver.Register([page], 0, 0x1000, Cookie);

        uint unregistered = bench.Driver.Unregister(Cookie).ReturnCode;

        Assert.That((registered, unregistered), Is.EqualTo((0xffff_000eu, 0xffff_000eu)));
        Assert.That((afterRegister, bench.Guest.Status), Is.EqualTo((GuestBench.Nothing, GuestBench.Nothing)));
        Assert.That(bench.Ram.TryDiscard(new GuestRange(page, 0x1000)));
    }

    [Test]
    public async Task Cancel_BackendFails_IsLoggedAndTheCallGoesOn()
    {
        await using GuestBench bench = Create(onWorkers: false);
        TaskCompletionSource<TeeResult> end = new(TaskCreationOptions.RunContinuationsAsynchronously);
        bench.Backend.OnInvoke = _ => new ValueTask<TeeResult>(end.Task);
        bench.Backend.OnCancel = _ => throw new InvalidOperationException("cancel");
        uint session = bench.Open();
        PendingCall call = bench.StartInvoke(session);

        uint cancelled = bench.Driver.Cancel(session, 0).ReturnCode;
        end.SetResult(TeeResult.Success);

        Assert.That((cancelled, bench.Finish(call).ReturnCode), Is.EqualTo((0u, 0u)));
        Assert.That(bench.Loggers.EventIds.Count(id => id == BackendFailed), Is.EqualTo(1));
    }

    [Test]
    public async Task CreatePartition_Throws_ReachesTheVmm()
    {
        await using GuestBench bench = new();
        ScriptedBackend backend = new() { OnCreate = _ => throw new TeeUnavailableException("full") };

        Assert.That(() => new OpTeeGuest(bench.Ram, backend), Throws.InstanceOf<TeeUnavailableException>());
    }

    /// <summary>Each access in turn throws: of the message, the list, the pin, the answer.</summary>
    [TestCase(OpTeeMessage.CommandOpenSession)]
    [TestCase(OpTeeMessage.CommandInvoke)]
    [TestCase(OpTeeMessage.CommandRegisterSharedMemory)]
    [TestCase(OpTeeMessage.CommandUnregisterSharedMemory)]
    [TestCase(OpTeeMessage.CommandCloseSession)]
    [TestCase(OpTeeMessage.CommandCancel)]
    public async Task Handle_GuestMemoryThrows_AnswersAndKeepsNoSlot(uint command)
    {
        HookedGuestMemory? hooks = null;
        await using GuestBench bench = new(new OpTeeGuestOptions { Limits = GuestBench.OneCall },
            wrap: memory => hooks = new HookedGuestMemory(memory));
        for (int failing = 1; failing <= 8; failing++)
        {
            uint session = bench.Open();
            ulong[] pages = bench.Share(Cookie, 2);
            GuestMessage message = Message(bench, command, session, pages);
            bench.Driver.WriteMessage(bench.Driver.MessagePage, message);
            int before = hooks!.Accesses;
            int fails = failing;
            hooks.Before = number =>
                _ = number - before == fails ? throw new InvalidOperationException("The VMM's memory fails.") : 0;
            SmcRegisters registers = default;
            registers.X0 = OpTeeSmc.CallWithRpcArgument;
            registers.X2 = bench.Driver.MessagePage;

            Assert.That(() => bench.Guest.Handle(ref registers), Throws.Nothing);

            hooks.Before = null;
            Assert.That(registers.X0, Is.EqualTo(OpTeeSmc.ReturnOk).Or.EqualTo(OpTeeSmc.ReturnBadAddress));
            Assert.That(bench.Guest.Status.CallsInFlight, Is.Zero);
            await bench.Guest.ResetAsync();
            Assert.That(bench.Backend.OpenSessions, Is.Zero);
            Assert.That(bench.Backend.RegisteredBuffers, Is.Zero);
        }
    }

    [Test]
    public async Task Register_PinThrows_BudgetIsWhole()
    {
        HookedGuestMemory? hooks = null;
        await using GuestBench bench = new(wrap: memory => hooks = new HookedGuestMemory(memory));
        ulong list = bench.Driver.WritePageList(bench.Driver.AllocatePages(2, 2));
        bench.Driver.WriteMessage(
            bench.Driver.MessagePage,
            new GuestMessage(OpTeeMessage.CommandRegisterSharedMemory, GuestParameter.PageList(list, 0x2000, Cookie)));

        // The message, the list, the pin.
        hooks!.Before = number => _ = number == 3 ? throw new InvalidOperationException("The VMM's memory fails.") : 0;
        ulong answer = bench.Driver.Call(OpTeeSmc.CallWithArgument, 0, bench.Driver.MessagePage).X0;

        uint code = bench.Driver.ReadMessage(bench.Driver.MessagePage, 1).ReturnCode;

        Assert.That((answer, code, bench.Guest.Status),
            Is.EqualTo(((ulong)OpTeeSmc.ReturnOk, 0xffff_0006u, GuestBench.Nothing)));
    }

    [Test]
    public async Task ExecutionOf_Throws_CommunicationAndNothingIsKept([Values] TeeExecution execution)
    {
        await using GuestBench bench = new(
            new OpTeeGuestOptions { Limits = new OpTeeLimits { Sessions = 1 } },
            new ScriptedBackend { Execution = execution, MemoryExecution = TeeExecution.Worker });
        bench.Backend.OnExecutionOf = _ => throw new InvalidOperationException("where?");

        GuestMessage opened = bench.Driver.OpenSession(GuestBench.Application);
        OpTeeGuestStatus afterwards = bench.Guest.Status;
        bench.Backend.OnExecutionOf = null;

        Assert.That((opened.ReturnCode, opened.ReturnOrigin, opened.Session),
            Is.EqualTo((0xffff_000eu, (uint)TeeOrigin.Communication, 0u)));
        Assert.That(afterwards, Is.EqualTo(GuestBench.Nothing));
        Assert.That(bench.Loggers.EventIds.Count(id => id == BackendFailed), Is.EqualTo(1));
        Assert.That(bench.Open(), Is.Not.Zero, "The only place should be free.");
    }

    [Test]
    public async Task ExecutionOf_ThrowsOnceASessionIsOpen_SessionKeepsTheFirstAnswer([Values] TeeExecution execution)
    {
        await using GuestBench bench = new(
            backend: new ScriptedBackend { Execution = execution, MemoryExecution = TeeExecution.Worker });
        uint session = bench.Open();
        bool ranOnVcpu = false;
        int vcpu = Environment.CurrentManagedThreadId;
        bench.Backend.OnExecutionOf = _ => throw new InvalidOperationException("where?");
        bench.Backend.OnInvoke = _ =>
        {
            ranOnVcpu = Environment.CurrentManagedThreadId == vcpu;
            return new(TeeResult.Success);
        };

        uint invoked = bench.Driver.Invoke(session, 0).ReturnCode;
        uint closed = bench.Driver.CloseSession(session).ReturnCode;

        Assert.That((invoked, closed, ranOnVcpu), Is.EqualTo((0u, 0u, execution == TeeExecution.Inline)));
        Assert.That((bench.Backend.OpenSessions, bench.Guest.Status), Is.EqualTo((0, GuestBench.Nothing)));
        Assert.That(bench.Loggers.EventIds, Has.None.EqualTo(BackendFailed));
    }

    /// <summary>Of the vCPU's own thread, of a worker whose guest is gone, and of the thread that tears down: where
    /// nobody would catch it.</summary>
    [Test]
    public async Task Unpin_Throws_IsLoggedAndEverythingGoesOn([Values] bool onWorkers)
    {
        UnpinnableMemory? memory = null;
        await using GuestBench bench = new(backend: onWorkers ? GuestBench.OnWorkers() : new ScriptedBackend(),
            wrap: inner => memory = new UnpinnableMemory(inner));
        TaskCompletionSource<TeeResult> end = new(TaskCreationOptions.RunContinuationsAsynchronously);
        ulong[] pages = bench.Share(Cookie, 2);
        _ = bench.Share(Cookie + 1, 3);
        uint session = bench.Open();
        uint unregistered = bench.Driver.Unregister(Cookie).ReturnCode;
        bench.Backend.OnInvoke = _ => new ValueTask<TeeResult>(end.Task);
        _ = bench.StartInvoke(session, GuestParameter.Temporary(OpTeeMessage.TypeTemporaryInput, pages[0], 1, 0));

        Task reset = bench.Guest.ResetAsync();
        end.SetResult(TeeResult.Success);
        await reset;

        Assert.That(unregistered, Is.Zero);
        Assert.That(bench.Guest.Status, Is.EqualTo(GuestBench.Nothing));
        Assert.That(memory!.Failures, Is.EqualTo(3), "The unregistered buffer, the call's own, the one that was left.");
        Assert.That(bench.Loggers.EventIds.Count(id => id == UnpinFailed), Is.EqualTo(1),
            "One entry for each interval.");
        Assert.That(bench.Open(), Is.Not.Zero);
    }

    [Test]
    public async Task Handle_LoggerThrowsAtARefusedCall_Answers()
    {
        await using GuestBench bench = CreateWithFailingLogger(onWorkers: false, out Action fail);
        fail();

        ulong answer = bench.Driver.Call(OpTeeSmc.CallWithArgument, 0, 1).X0;

        Assert.That(answer, Is.EqualTo(OpTeeSmc.ReturnBadAddress));
    }

    /// <summary>On a worker the exception would end the process.</summary>
    [Test]
    public async Task Invoke_BackendAndLoggerThrow_CommunicationAndNothingIsLost([Values] bool onWorkers)
    {
        await using GuestBench bench = CreateWithFailingLogger(onWorkers, out Action fail);
        uint session = bench.Open();
        bench.Backend.OnInvoke = _ => throw new InvalidOperationException("The backend fails.");
        fail();

        GuestMessage answer = bench.Driver.Invoke(session, 0);
        int calls = bench.Guest.Status.CallsInFlight;
        OpTeeGuestStatus left = await bench.DisposeGuestAsync();

        Assert.That((answer.ReturnCode, answer.ReturnOrigin),
            Is.EqualTo((0xffff_000eu, (uint)TeeOrigin.Communication)));
        Assert.That((calls, left, bench.Backend.OpenSessions, bench.Backend.Disposals),
            Is.EqualTo((0, GuestBench.Nothing, 0, 1)));
    }

    /// <summary>The memory that the application left in the guest cannot be given back.</summary>
    [Test]
    public async Task OpenSession_GuestMemoryThrowsAfterTheBackendSucceeded_SessionIsClosedOnce()
    {
        HookedGuestMemory? hooks = null;
        await using GuestBench bench =
            new(backend: GuestBench.OnWorkers(), wrap: memory => hooks = new HookedGuestMemory(memory));
        bench.Driver.OnRpc = new RpcServices(bench.Driver).Serve;
        bench.Backend.OnOpen = request =>
        {
            _ = request.Guest!.Allocate(GuestMemoryKind.Kernel, 64);
            hooks!.Before = _ => throw new IOException("The VMM's memory fails.");
            return ValueTask.FromResult(TeeResult.Success);
        };

        uint answer = bench.Driver.TrySend(FakeDriver.Opening(GuestBench.Application, default, 0));
        hooks!.Before = null;
        OpTeeGuestStatus opened = bench.Guest.Status;
        OpTeeGuestStatus left = await bench.DisposeGuestAsync();

        Assert.That((answer, opened.Sessions, opened.Buffers), Is.EqualTo((OpTeeSmc.ReturnOk, 1, 0)));
        Assert.That((left, bench.Backend.OpenSessions, bench.Backend.Disposals),
            Is.EqualTo((GuestBench.Nothing, 0, 1)));
    }

    [Test]
    public async Task UnregisterShm_GuestMemoryThrowsAsTheCallWakes_BufferIsUnregisteredOnce()
    {
        HookedGuestMemory? hooks = null;
        TaskCompletionSource end = new(TaskCreationOptions.RunContinuationsAsynchronously);
        OpTeeGuestOptions options =
            new() { NotificationInterrupt = new CountingLine(), SleepAfter = TimeSpan.FromMilliseconds(1) };
        await using GuestBench bench = new(options, wrap: memory => hooks = new HookedGuestMemory(memory));
        int unregistrations = 0;
        bench.Backend.OnUnregister = buffer =>
        {
            _ = Interlocked.Increment(ref unregistrations);
            return new ValueTask(end.Task);
        };
        _ = bench.Driver.Call(OpTeeSmc.EnableAsyncNotification);
        _ = bench.Share(Cookie, 1);
        PendingCall call = bench.Start(GuestBench.Unregistering(Cookie));
        SmcRegisters registers = call.Registers;
        while ((uint)registers.X0 == OpTeeSmc.ReturnRpcForeignInterrupt)
        {
            registers = bench.Resume(registers.X3);
        }

        Assert.That((uint)registers.X0, Is.EqualTo(OpTeeSmc.ReturnRpcCommand), "The call should sleep.");
        end.SetResult();
        hooks!.Before = _ => throw new IOException("The VMM's memory fails.");
        registers = bench.Resume(registers.X3);
        while ((uint)registers.X0 == OpTeeSmc.ReturnRpcForeignInterrupt)
        {
            registers = bench.Resume(registers.X3);
        }

        hooks.Before = null;
        OpTeeGuestStatus afterwards = bench.Guest.Status;
        OpTeeGuestStatus left = await bench.DisposeGuestAsync();

        Assert.That((registers.X0, afterwards.CallsInFlight), Is.EqualTo(((ulong)OpTeeSmc.ReturnOk, 0)));
        Assert.That((left.SharedPages, unregistrations, bench.Backend.RegisteredBuffers), Is.EqualTo((0, 1, 0)));
    }

    /// <summary>The interrupt line is asked for its number as a guest is created.</summary>
    [Test]
    public async Task Constructor_PartOfTheVmmThrows_PartitionIsDisposedOf(
        [Values("Spi", "Execution", "Devices")] string method)
    {
        await using GuestBench bench = new();
        FailurePlan plan = new(method, 1, Testing.Supplied.Failure.Throws);
        FailingBackend backend = new(plan, TeeExecution.Worker);
        OpTeeGuestOptions options = new() { NotificationInterrupt = new FailingInterruptLine(plan), Name = "unborn" };

        Assert.That(() => new OpTeeGuest(bench.Ram, backend, options), Throws.InstanceOf<SuppliedPartException>());

        Assert.That((backend.Live, backend.Violations.Count), Is.EqualTo((0, 0)));
        Assert.That(() => ThreadNames.Count("optee unborn/"), Is.Zero.After(10_000, 1));
    }

    private static GuestBench CreateWithFailingLogger(bool onWorkers, out Action fail)
    {
        bool fails = false;
        GuestBench bench = Create(onWorkers);
        bench.Loggers.OnMessage = () => _ = fails ? throw new IOException("The disk is full.") : 0;
        fail = () => fails = true;
        return bench;
    }

    private static GuestMessage Message(GuestBench bench, uint command, uint session, ulong[] pages) => command switch
    {
        OpTeeMessage.CommandOpenSession => FakeDriver.Opening(
            GuestBench.Application, default, 0,
            GuestParameter.Temporary(OpTeeMessage.TypeTemporaryInput, pages[0], 1, 0), GuestParameter.ValueOut()),
        OpTeeMessage.CommandInvoke => GuestBench.Invocation(
            session, 0, GuestParameter.RegisteredIn(0, 1, Cookie),
            GuestParameter.Temporary(OpTeeMessage.TypeTemporaryOutput, pages[0], 1, 0)),
        OpTeeMessage.CommandRegisterSharedMemory =>
            new GuestMessage(command, GuestParameter.PageList(bench.Driver.WritePageList(pages), 0x2000, Cookie + 1)),
        OpTeeMessage.CommandUnregisterSharedMemory => GuestBench.Unregistering(Cookie),
        _ => new GuestMessage(command) { Session = session },
    };

    private static ValueTask<TeeResult> Fail(Failure failure)
    {
        InvalidOperationException exception = new("The backend fails.");
        return failure switch
        {
            Failure.Throws => throw exception,
            Failure.HasFailed => ValueTask.FromException<TeeResult>(exception),
            _ => new(Later(exception)),
        };

        static async Task<TeeResult> Later(Exception exception)
        {
            await Task.Delay(5);
            throw exception;
        }
    }

    private static GuestBench Create(bool onWorkers) =>
        new(backend: onWorkers ? GuestBench.OnWorkers() : new ScriptedBackend());

    /// <summary>Reports success and sets no session.</summary>
    private sealed class ForgetfulBackend : ITeeBackend, ITeePartition
    {
        public TeeAccess DefaultAccess => TeeAccess.All;

        public TeeExecutionPolicy Execution => TeeExecutionPolicy.Inline;

        public ITeePartition CreatePartition(TeeVirtualMachine virtualMachine) => this;

        public ValueTask<TeeResult> OpenSessionAsync(TeeRequest request) => new(TeeResult.Success);
    }

    /// <summary>Pins, and fails to unpin.</summary>
    private sealed class UnpinnableMemory(IGuestMemory inner) : IGuestMemory
    {
        private int _failures;

        public int Failures => Volatile.Read(ref _failures);

        public bool TryRead(GuestAddress address, Span<byte> destination) => inner.TryRead(address, destination);

        public bool TryWrite(GuestAddress address, ReadOnlySpan<byte> source) => inner.TryWrite(address, source);

        public bool TryPin(GuestPages pages) => inner.TryPin(pages);

        public void Unpin(GuestPages pages)
        {
            _ = Interlocked.Increment(ref _failures);
            throw new InvalidOperationException("The VMM's memory fails.");
        }
    }
}
