using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;

namespace OpTeeMediator.Tests.Rpc;

/// <summary>Asynchronous notifications, and calls that sleep in the guest until the backend is done.</summary>
internal sealed class NotificationTests
{
    private CountingLine _line = null!;
    private HookedGuestMemory _memory = null!;
    private GuestBench _bench = null!;
    private SemaphoreSlim _mayEnd = null!;
    private uint _session;

    [SetUp]
    public void SetUp()
    {
        _line = new CountingLine();
        _mayEnd = new SemaphoreSlim(0);
        _bench = new GuestBench(
            new OpTeeGuestOptions { NotificationInterrupt = _line, SleepAfter = TimeSpan.FromMilliseconds(2) },
            new ScriptedBackend { Execution = TeeExecution.Worker },
            memory => _memory = new HookedGuestMemory(memory));
        _session = _bench.Open();
        _bench.Backend.OnInvoke = _ =>
        {
            _mayEnd.Wait();
            return ValueTask.FromResult(TeeResult.Success);
        };
        _ = _bench.Driver.Call(OpTeeSmc.EnableAsyncNotification);
    }

    [TearDown]
    public async Task TearDown()
    {
        _ = _mayEnd.Release(10);
        Assert.That(await _bench.DisposeGuestAsync(), Is.EqualTo(GuestBench.Nothing));
        await _bench.DisposeAsync();
        _mayEnd.Dispose();
    }

    [Test]
    public void ExchangeCapabilities_WithInterrupt_OffersNotifications()
    {
        SmcRegisters answer = _bench.Driver.Call(OpTeeSmc.ExchangeCapabilities, 0);

        Assert.That((OpTeeCapabilities)answer.X1 & OpTeeCapabilities.AsynchronousNotifications, Is.Not.Zero);
        Assert.That(answer.X2 % 64, Is.Not.Zero, "Linux's bitmap has no room for a multiple of 64.");
        Assert.That(_bench.Guest.DeviceTreeNode.Spi, Is.EqualTo(_line.Spi));
    }

    [Test]
    public void Invoke_LongOperation_SleepsUntilItIsWokenOnce()
    {
        (ulong page, SmcRegisters sleeping) = Sleep();
        GuestMessage asked = _bench.Driver.ReadMessage(page + OpTeeMessage.HeaderSize, 1);
        int pulsesBefore = _line.Pulses;
        _ = _mayEnd.Release();
        Assert.That(() => _line.Pulses, Is.EqualTo(pulsesBefore + 1).After(5000, 1));

        SmcRegisters taken = _bench.Driver.Call(OpTeeSmc.GetAsyncNotificationValue);
        SmcRegisters nothing = _bench.Driver.Call(OpTeeSmc.GetAsyncNotificationValue);
        _bench.Driver.WriteMessage(page + OpTeeMessage.HeaderSize, asked with { ReturnCode = 0 });
        uint answer = _bench.Driver.Finish(_bench.Resume(sleeping.X3));

        Assert.That((asked.Command, asked.Parameters[0].A),
            Is.EqualTo((OpTeeRpc.Notification, (ulong)OpTeeRpc.NotificationWait)));
        Assert.That((taken.X1, taken.X2), Is.EqualTo((asked.Parameters[0].B, 1ul)),
            "The value that the call waits for, and no other.");
        Assert.That(nothing.X2, Is.Zero);
        Assert.That(answer, Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(_line.Pulses, Is.EqualTo(pulsesBefore + 1));
    }

    [Test]
    public void Resume_WokenEarly_SleepsAgain()
    {
        (ulong page, SmcRegisters sleeping) = Sleep();
        Answer(page, 0);

        SmcRegisters again = Sleeping(_bench.Resume(sleeping.X3));

        _ = _mayEnd.Release();
        Answer(page, 0);
        Assert.That(_bench.Driver.Finish(_bench.Resume(again.X3)), Is.EqualTo(OpTeeSmc.ReturnOk));
    }

    [Test]
    public void Resume_GuestCannotSleep_IsInterruptedInstead()
    {
        (ulong page, SmcRegisters sleeping) = Sleep();
        Answer(page, (uint)TeeReturnCode.Busy);

        SmcRegisters first = _bench.Resume(sleeping.X3);
        SmcRegisters second = _bench.Resume(Interrupted(first, 5).X3);

        _ = _mayEnd.Release();
        Assert.That(first.X0, Is.EqualTo(OpTeeSmc.ReturnRpcForeignInterrupt));
        Assert.That(second.X0, Is.EqualTo(OpTeeSmc.ReturnRpcForeignInterrupt));
        Assert.That(_bench.Driver.Finish(second), Is.EqualTo(OpTeeSmc.ReturnOk));
    }

    [Test]
    public void StopAsyncNotification_WhileSleeping_WaitsUntilTheCallIsBack()
    {
        (ulong page, SmcRegisters sleeping) = Sleep();
        PendingCall stopping = _bench.Start(new GuestMessage(OpTeeMessage.CommandStopAsyncNotification));
        Assert.That(_bench.Driver.Call(OpTeeSmc.GetAsyncNotificationValue).X2, Is.EqualTo(1),
            "The sleeping call should be woken.");
        Answer(page, 0);

        SmcRegisters back = _bench.Resume(sleeping.X3);
        uint stopped = _bench.Driver.Finish(stopping.Registers);
        SmcRegisters later = Interrupted(back, 5);

        _ = _mayEnd.Release();
        Assert.That(stopping.Registers.X0, Is.EqualTo(OpTeeSmc.ReturnRpcForeignInterrupt));
        Assert.That(back.X0, Is.EqualTo(OpTeeSmc.ReturnRpcForeignInterrupt));
        Assert.That(stopped, Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(later.X0, Is.EqualTo(OpTeeSmc.ReturnRpcForeignInterrupt), "Nothing should sleep any more.");
        Assert.That(_bench.Driver.Finish(later), Is.EqualTo(OpTeeSmc.ReturnOk));
    }

    [Test]
    public void StopAsyncNotification_WhileACallIsAboutToSleep_WaitsForItToo()
    {
        // Nothing sleeps before the trap is set, however long that takes.
        _ = _bench.Finish(_bench.Start(new GuestMessage(OpTeeMessage.CommandStopAsyncNotification)));
        PendingCall call = _bench.Start(GuestBench.Invocation(_session, 0));
        SmcRegisters stopping = default;
        ulong stopPage = _bench.Driver.AllocatePage();
        bool isFirst = true;
        _memory.Before = _ =>
        {
            // The call that sleeps writes its RPC message: the only access of the guest's memory while it
            // is suspended again and again.
            if (isFirst)
            {
                isFirst = false;
                _bench.Driver.WriteMessage(stopPage, new GuestMessage(OpTeeMessage.CommandStopAsyncNotification));
                stopping = _bench.Driver.Call(OpTeeSmc.CallWithRpcArgument, stopPage >> 32, stopPage);
            }
        };

        _ = _bench.Driver.Call(OpTeeSmc.EnableAsyncNotification);
        SmcRegisters sleeping = Sleeping(call.Registers);
        Answer(call.Page, 0);
        SmcRegisters back = _bench.Resume(sleeping.X3);

        _ = _mayEnd.Release();
        Assert.That(stopping.X0, Is.EqualTo(OpTeeSmc.ReturnRpcForeignInterrupt), "STOP should wait for the call.");
        Assert.That(_bench.Driver.Finish(stopping), Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(_bench.Driver.Finish(back), Is.EqualTo(OpTeeSmc.ReturnOk));
    }

    [Test]
    public void StopAsyncNotification_DriverGoneBeforeItEnds_TheNextDriversCallsSleep()
    {
        _ = Sleep();
        PendingCall stopping = _bench.Start(new GuestMessage(OpTeeMessage.CommandStopAsyncNotification));
        StartDriver();

        _ = Sleep();

        Assert.That(_bench.Resume(stopping).X0, Is.EqualTo(OpTeeSmc.ReturnResume), "That call was the old driver's.");
    }

    [Test]
    public void StopAsyncNotification_WhileACallOfAnEarlierDriverRuns_DoesNotWaitForIt()
    {
        _ = Sleep();
        StartDriver();

        uint answer = _bench.Driver.Finish(
            _bench.Start(new GuestMessage(OpTeeMessage.CommandStopAsyncNotification)).Registers);

        Assert.That(answer, Is.EqualTo(OpTeeSmc.ReturnOk));
    }

    [Test]
    public void ExchangeCapabilities_NewDriverWithoutNotifications_NothingSleeps()
    {
        // Nothing is left of the old driver but that it has enabled notifications.
        Assert.That(_bench.Finish(_bench.Start(GuestBench.Closing(_session))).ReturnCode, Is.Zero);
        _ = _bench.Driver.Call(OpTeeSmc.ExchangeCapabilities, 0);
        _session = _bench.Open();

        SmcRegisters later = Interrupted(_bench.Start(GuestBench.Invocation(_session, 0)).Registers, 10);

        _ = _mayEnd.Release();
        Assert.That(later.X0, Is.EqualTo(OpTeeSmc.ReturnRpcForeignInterrupt));
        Assert.That(_bench.Driver.Finish(later), Is.EqualTo(OpTeeSmc.ReturnOk));
    }

    [Test]
    public async Task Dispose_WhileSleeping_FreesTheCallWhenItsThreadReturns()
    {
        _ = Sleep();
        ValueTask disposal = _bench.Guest.DisposeAsync();

        _ = _mayEnd.Release();
        await disposal;

        Assert.That(_bench.Guest.Status, Is.EqualTo(GuestBench.Nothing));
    }

    [Test]
    public async Task PauseAsync_WhileSleeping_HoldsNewCallsUntilResumed()
    {
        (ulong page, SmcRegisters sleeping) = Sleep();
        _ = _mayEnd.Release();

        bool isPaused = await _bench.Guest.PauseAsync();
        PendingCall held = _bench.Start(GuestBench.Invocation(_session, 0));
        _bench.Guest.Resume();
        _ = _mayEnd.Release();
        Answer(page, 0);

        Assert.That(isPaused, Is.True);
        Assert.That(held.Registers.X0, Is.EqualTo(OpTeeSmc.ReturnRpcForeignInterrupt));
        Assert.That(_bench.Driver.Finish(_bench.Resume(sleeping.X3)), Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(_bench.Finish(held).ReturnCode, Is.Zero);
    }

    /// <summary>A new driver, after a kexec say, that takes notifications.</summary>
    private void StartDriver()
    {
        _ = _bench.Driver.Call(OpTeeSmc.ExchangeCapabilities, 0);
        _ = _bench.Driver.Call(OpTeeSmc.EnableAsyncNotification);
        _session = _bench.Open();
    }

    /// <summary>Starts an invocation that does not end, and follows it until its thread is to sleep.</summary>
    private (ulong Page, SmcRegisters Sleeping) Sleep()
    {
        PendingCall call = _bench.Start(GuestBench.Invocation(_session, 0));
        return (call.Page, Sleeping(call.Registers));
    }

    private SmcRegisters Sleeping(SmcRegisters registers)
    {
        const int MoreThanEnough = 1000;
        for (int count = 0; count < MoreThanEnough && (uint)registers.X0 == OpTeeSmc.ReturnRpcForeignInterrupt; count++)
        {
            registers = _bench.Resume(registers.X3);
        }

        Assert.That(registers.X0, Is.EqualTo(OpTeeSmc.ReturnRpcCommand), "The call should sleep.");
        return registers;
    }

    /// <summary>Resumes a call that never sleeps meanwhile.</summary>
    private SmcRegisters Interrupted(SmcRegisters registers, int times)
    {
        for (int count = 0; count < times; count++)
        {
            Assert.That(registers.X0, Is.EqualTo(OpTeeSmc.ReturnRpcForeignInterrupt), "The call should not sleep.");
            registers = _bench.Resume(registers.X3);
        }

        return registers;
    }

    /// <summary>Writes the guest's answer to the RPC behind a message without parameters.</summary>
    private void Answer(ulong page, uint code) =>
        _bench.Driver.WriteMessage(page + OpTeeMessage.HeaderSize,
            new GuestMessage(OpTeeRpc.Notification, GuestParameter.ValueIn(0, 0)) { ReturnCode = code });
}
