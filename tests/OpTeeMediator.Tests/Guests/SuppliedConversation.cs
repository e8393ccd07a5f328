using System.Diagnostics;
using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Testing.Supplied;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Guests;

/// <summary>A VM whose guest uses everything once, while one call of a part that the VMM supplies fails.</summary>
/// <remarks>Every step works with whatever the steps before it have left: no answer of the TEE is required, except
/// that there is one.</remarks>
internal sealed class SuppliedConversation : IDisposable
{
    private const ulong RamStart = 0x4000_0000;
    private const ulong RamLength = 1 << 20;
    private const ulong Cookie = 0xffff_0000_0938_5a80;

    private static readonly Guid Application = new("5b9e0e40-2636-11e1-ad9e-0002a5d5c51b");
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(60);
    private static int s_names;

    private readonly FailurePlan _plan;
    private readonly TeeExecution _execution;
    private readonly MemfdGuestMemory _ram = MemfdGuestMemory.Create(new GuestRange(RamStart, RamLength));
    private readonly string _name = $"sup{Interlocked.Increment(ref s_names)}";

    public SuppliedConversation(FailurePlan plan, TeeExecution execution)
    {
        _plan = plan;
        _execution = execution;
        Backend = new FailingBackend(plan, execution);
    }

    public FailingBackend Backend { get; }

    /// <summary>Whether the VMM got the failure as an exception, because no guest could be created.</summary>
    public bool WasRefused { get; private set; }

    /// <summary>Runs the VM from its creation to its disposal, and checks what is left after each.</summary>
    public async Task RunAsync()
    {
        OpTeeGuest? guest = Create();
        if (guest is not null)
        {
            FakeDriver driver = NewDriver(guest, 0);
            Use(driver);
            LeaveBehind(driver);

            // The next driver, without a reset in between.
            LeaveBehind(NewDriver(guest, 1));
            await EndAsync(guest.ResetAsync());
            _ = await guest.PauseAsync();
            guest.Resume();
            Assert.That(guest.Status, Is.EqualTo(OpTeeGuestStatus.Nothing), "after the reset");

            _plan.Disarm();
            CheckWorks(NewDriver(guest, 2));
            _plan.Arm();
            LeaveBehind(NewDriver(guest, 3));
            await EndAsync(guest.DisposeAsync().AsTask());
            Assert.That(guest.Status, Is.EqualTo(OpTeeGuestStatus.Nothing), "after the disposal");
        }

        CheckNothingIsLeft();
        await CheckNextGuestWorksAsync();
    }

    public void Dispose() => _ram.Dispose();

    /// <summary>Awaits the end of a driver; a call that was given to a worker may begin to pend meanwhile.</summary>
    private async Task EndAsync(Task end)
    {
        while (!end.IsCompleted)
        {
            Backend.EndPending();
            _ = await Task.WhenAny(end, Task.Delay(1));
        }

        await end;
    }

    private OpTeeGuest? Create()
    {
        try
        {
            return new OpTeeGuest(
                new FailingGuestMemory(_ram, _plan),
                Backend,
                new OpTeeGuestOptions
                {
                    Name = _name,
                    Limits = new OpTeeLimits { Calls = 3, Sessions = 4, Buffers = 8 },
                    NotificationInterrupt = new FailingInterruptLine(_plan),
                    SleepAfter = TimeSpan.FromMilliseconds(1),
                    Quantum = TimeSpan.FromMilliseconds(1),
                    ShutdownDeadline = Deadline,
                    LoggerFactory = new FailingLoggerFactory(_plan),
                });
        }
        catch (SuppliedPartException)
        {
            WasRefused = true;
            return null;
        }
    }

    private FakeDriver NewDriver(OpTeeGuest guest, int part)
    {
        FakeDriver driver = new(guest, _ram, new GuestRange(RamStart + ((ulong)part * (RamLength / 4)), RamLength / 4));
        driver.OnRpc = new RpcServices(driver).Serve;
        _ = driver.Call(OpTeeSmc.ExchangeCapabilities);
        _ = driver.Call(OpTeeSmc.EnableAsyncNotification);
        return driver;
    }

    /// <summary>Everything once: the three ways to call, all operations, RPCs with and without RPC_ARG, a call that
    /// sleeps, a cancellation.</summary>
    private void Use(FakeDriver driver)
    {
        ulong page = driver.AllocatePage();
        ulong[] pages = driver.AllocatePages(2, 2);
        _ = Send(driver, Registering(driver, pages, 0x2000, Cookie));
        _ = Send(driver, Registering(driver, pages, FailingBackend.SizeThatPends, Cookie + 1));
        uint session = Send(driver, FakeDriver.Opening(
            Application, default, 0, GuestParameter.Temporary(OpTeeMessage.TypeTemporaryInOut, page, 64, 0),
            GuestParameter.ValueInOut(1, 2))).Session;
        _ = Send(driver, Invoking(
            session, FailingBackend.UseMemory, GuestParameter.RegisteredInOut(0, 64, Cookie),
            GuestParameter.Temporary(OpTeeMessage.TypeTemporaryInput, page, 64, 0)));
        _ = Send(driver, Invoking(session, FailingBackend.AskGuest));
        driver.Conduit = OpTeeSmc.CallWithArgument;
        _ = Send(driver, Invoking(session, FailingBackend.AskGuest));
        driver.Conduit = OpTeeSmc.CallWithRpcArgument;
        _ = Send(driver, Invoking(session, FailingBackend.Pend));
        CancelOne(driver, session);
        _ = Send(driver, new GuestMessage(OpTeeMessage.CommandUnregisterSharedMemory,
            GuestParameter.RegisteredIn(0, 0, Cookie + 1)));
        _ = driver.Call(OpTeeSmc.GetAsyncNotificationValue);
        _ = Send(driver,
            new GuestMessage(OpTeeMessage.CommandUnregisterSharedMemory, GuestParameter.RegisteredIn(0, 0, Cookie)));
        _ = Send(driver, Closing(session));
        _ = Send(driver, new GuestMessage(0xbad));
        _ = driver.Call(OpTeeSmc.CallWithArgument, 0, 1);
    }

    /// <summary>A session, a buffer and a call for the one that tears the driver down.</summary>
    private void LeaveBehind(FakeDriver driver)
    {
        _ = Send(driver, Registering(driver, driver.AllocatePages(2, 2), 0x2000, Cookie + 2));
        uint session = Send(driver, FakeDriver.Opening(Application, default, 0)).Session;
        _ = driver.Start(Invoking(session, FailingBackend.Pend));
    }

    private void CancelOne(FakeDriver driver, uint session)
    {
        ulong page = driver.AllocatePage();
        driver.WriteMessage(page, Invoking(session, FailingBackend.Pend));
        SmcRegisters pending = driver.Start(page, 0, 0);
        _ = Send(driver, new GuestMessage(OpTeeMessage.CommandCancel) { Session = session });
        _ = Finish(driver, pending);
    }

    private void CheckWorks(FakeDriver driver)
    {
        Use(driver);
        uint registered = Send(driver, Registering(driver, driver.AllocatePages(2, 2), 0x2000, Cookie)).ReturnCode;
        GuestMessage opened = Send(driver, FakeDriver.Opening(Application, default, 0));
        uint invoked = Send(driver, Invoking(opened.Session, FailingBackend.UseMemory,
            GuestParameter.RegisteredInOut(0, 64, Cookie))).ReturnCode;
        uint unregistered =
            Send(driver, new GuestMessage(OpTeeMessage.CommandUnregisterSharedMemory,
                GuestParameter.RegisteredIn(0, 0, Cookie))).ReturnCode;
        uint closed = Send(driver, Closing(opened.Session)).ReturnCode;
        Assert.That((registered, opened.ReturnCode, invoked, unregistered, closed), Is.EqualTo((0u, 0u, 0u, 0u, 0u)),
            "The next driver works.");
    }

    private void CheckNothingIsLeft()
    {
        bool isPinLost = _plan.HasFailed && _plan.Method == nameof(IGuestMemory.Unpin);
        Assert.That(_ram.TryDiscard(new GuestRange(RamStart, RamLength)), Is.Not.EqualTo(isPinLost),
            "No pin is left that the VMM did not lose.");
        Assert.That(Backend.Live, Is.Zero, "Partitions, sessions and buffers of the backend.");
        Assert.That(Backend.Violations, Is.Empty);
        Assert.That(() => ThreadNames.Count($"optee {_name}/"), Is.Zero.After(10_000, 1), "The threads end.");
    }

    private async Task CheckNextGuestWorksAsync()
    {
        _plan.Disarm();
        await using OpTeeGuest next = Create()!;
        CheckWorks(NewDriver(next, 0));
        Assert.That(next.Status, Is.EqualTo(OpTeeGuestStatus.Nothing), "The next guest.");
    }

    private GuestMessage Send(FakeDriver driver, GuestMessage message) =>
        Finish(driver, driver.Start(message))
            ? driver.ReadMessage(driver.MessagePage, message.Parameters.Length) : message;

    /// <summary>Resumes a call until it ends; operations that pend are ended as soon as the call
    /// sleeps or is suspended.</summary>
    private bool Finish(FakeDriver driver, SmcRegisters registers)
    {
        const int MostSuspensions = 20;
        int suspensions = 0;
        long start = Stopwatch.GetTimestamp();
        while ((registers.X0 & 0xffff_0000) == 0xffff_0000 && (uint)registers.X0 != OpTeeSmc.ReturnUnknownFunction)
        {
            Assert.That(Stopwatch.GetElapsedTime(start), Is.LessThan(Deadline), "The call should end.");
            suspensions++;
            if ((uint)registers.X0 == OpTeeSmc.ReturnRpcCommand || suspensions > MostSuspensions)
            {
                // It sleeps, asks something, or cannot sleep.
                Backend.EndPending();
            }

            registers = driver.Step(registers);
        }

        return registers.X0 == OpTeeSmc.ReturnOk;
    }

    private static GuestMessage Registering(FakeDriver driver, ulong[] pages, ulong size, ulong cookie) =>
        new(OpTeeMessage.CommandRegisterSharedMemory,
            GuestParameter.PageList(driver.WritePageList(pages), size, cookie));

    private static GuestMessage Invoking(uint session, uint command, params GuestParameter[] parameters) =>
        new(OpTeeMessage.CommandInvoke, parameters) { Session = session, Function = command };

    private static GuestMessage Closing(uint session) => new(OpTeeMessage.CommandCloseSession) { Session = session };
}
