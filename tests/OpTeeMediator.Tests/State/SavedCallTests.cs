using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.State;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.State;

/// <summary>Calls that are in flight when their VM is saved: none is lost, and none is done twice.</summary>
internal sealed class SavedCallTests
{
    private static readonly OpTeeStateOptions s_dropping = new() { DropsWhatCannotMove = true };

    [Test]
    public async Task RestoreAsync_HeldCalls_BeginThere()
    {
        await using MovingVm vm = new();
        ulong[] pages = vm.Driver.AllocatePages(2, 2);
        _ = vm.Driver.Register(pages, 0, 8192, 1);
        _ = vm.Driver.Register(vm.Driver.AllocatePages(1, 1), 0, 4096, 2);
        uint session = vm.Open();
        uint closing = vm.Open();
        ulong page = vm.Driver.AllocatePage();
        vm.Driver.Write<byte>(page, [7]);
        _ = await vm.Guest.PauseAsync();
        PendingCall add = vm.Start(MovingVm.Adding(session, 3));
        PendingCall registered = vm.Start(GuestBench.Invocation(session, CountingApplication.Copy,
            GuestParameter.Temporary(OpTeeMessage.TypeTemporaryInput, page, 1, 0),
            GuestParameter.RegisteredOut(4096, 1, 1)));
        PendingCall open = vm.Start(FakeDriver.Opening(CountingApplication.PerSession.Uuid, default, 0));
        PendingCall close = vm.Start(GuestBench.Closing(closing));
        PendingCall register = vm.Start(new GuestMessage(OpTeeMessage.CommandRegisterSharedMemory,
            GuestParameter.PageList(vm.Driver.WritePageList(vm.Driver.AllocatePages(3, 2)), 12288, 3)));
        PendingCall unregister = vm.Start(GuestBench.Unregistering(2));
        PendingCall[] calls = [add, registered, open, close, register, unregister];
        Assert.That(calls.Select(call => (uint)call.Registers.X0),
            Has.All.EqualTo(OpTeeSmc.ReturnRpcForeignInterrupt));

        await vm.MoveAsync();
        GuestMessage[] answers = [.. calls.Select(vm.Finish)];

        Assert.That(answers.Select(answer => answer.ReturnCode), Has.All.Zero);
        Assert.That(answers[0].Parameters[1].B, Is.EqualTo(3));
        byte[] copied = new byte[1];
        vm.Driver.Read<byte>(pages[1], copied);
        Assert.That(copied[0], Is.EqualTo(8));
        Assert.That(vm.Add(answers[2].Session, 1), Is.EqualTo((1UL, 1UL)));
        Assert.That(vm.Guest.Status, Is.EqualTo(new OpTeeGuestStatus(0, 2, 2, 5)));
        Assert.That(vm.Add(session, 1), Is.EqualTo((4UL, 4UL)), "The call was made once.");
    }

    [Test]
    public async Task RestoreAsync_ClosingWaitsForAHeldCall_StillDoes()
    {
        await using MovingVm vm = new();
        uint session = vm.Open();
        _ = await vm.Guest.PauseAsync();
        PendingCall add = vm.Start(MovingVm.Adding(session, 3));
        PendingCall close = vm.Start(GuestBench.Closing(session));

        await vm.MoveAsync();
        close = vm.Step(close);
        GuestMessage added = vm.Finish(add);

        Assert.That((uint)close.Registers.X0, Is.EqualTo(OpTeeSmc.ReturnRpcForeignInterrupt));
        Assert.That((added.ReturnCode, added.Parameters[1].B), Is.EqualTo((0u, 3UL)));
        Assert.That(vm.Finish(close).ReturnCode, Is.Zero);
    }

    [Test]
    public async Task RestoreAsync_CancelledBeforeItBegan_IsCancelledThere()
    {
        await using MovingVm vm = new();
        uint session = vm.Open();
        _ = await vm.Guest.PauseAsync();
        PendingCall call = vm.Start(MovingVm.Adding(session, 3, CountingApplication.AddAfterCancellation));
        _ = vm.Driver.Cancel(session, 0);

        await vm.MoveAsync();

        Assert.That(vm.Finish(call).Parameters[1].B, Is.EqualTo(3));
    }

    [Test]
    public async Task RestoreAsync_CallHasEnded_GuestGetsItsResult()
    {
        await using MovingVm vm = new();
        uint session = vm.Open();
        PendingCall call = vm.Start(MovingVm.Adding(session, 3, CountingApplication.AddWhenReleased));
        vm.MayGoOn.Set();
        Assert.That(await vm.Guest.DrainAsync());

        await vm.MoveAsync();
        GuestMessage answer = vm.Finish(call);

        Assert.That((answer.ReturnCode, answer.Parameters[1].B), Is.EqualTo((0u, 3UL)));
        Assert.That(vm.Add(session, 1), Is.EqualTo((4UL, 4UL)), "The call was made once.");
    }

    [Test]
    public async Task RestoreAsync_SessionHasOpenedOrClosed_GuestHearsOfIt()
    {
        await using MovingVm vm = new(options: new OpTeeGuestOptions { Quantum = TimeSpan.Zero });
        uint closing = vm.Open();
        PendingCall open = vm.Start(FakeDriver.Opening(CountingApplication.PerSession.Uuid, default, 0));
        PendingCall close = vm.Start(GuestBench.Closing(closing));
        Assume.That((open.Registers.X0, close.Registers.X0),
            Is.EqualTo(((ulong)OpTeeSmc.ReturnRpcForeignInterrupt, (ulong)OpTeeSmc.ReturnRpcForeignInterrupt)));
        Assert.That(await vm.Guest.DrainAsync());

        await vm.MoveAsync();
        GuestMessage opened = vm.Finish(open);
        GuestMessage closed = vm.Finish(close);

        Assert.That((opened.ReturnCode, closed.ReturnCode), Is.EqualTo((0u, 0u)));
        Assert.That(vm.Add(opened.Session, 1), Is.EqualTo((1UL, 1UL)));
        Assert.That(vm.Guest.Status.Sessions, Is.EqualTo(1));
    }

    [Test]
    public async Task DrainAsync_OperationAsksTheGuest_EndsAndNewOnesAreHeld()
    {
        await using MovingVm vm = new();
        uint session = vm.Open();
        uint other = vm.Open();
        PendingCall asking = vm.UntilCommand(
            vm.Start(MovingVm.Adding(session, 3, CountingApplication.AddAfterTime)), OpTeeRpc.GetTime);
        Task<bool> draining = vm.Guest.DrainAsync();
        PendingCall held = vm.Start(MovingVm.Adding(other, 5));
        bool isEarly = draining.IsCompleted;

        GuestMessage added = vm.Finish(asking);
        bool isDrained = await draining;
        held = vm.Step(held);
        await vm.MoveAsync();

        Assert.That((isEarly, isDrained, added.Parameters[1].B), Is.EqualTo((false, true, 3UL)));
        Assert.That((uint)held.Registers.X0, Is.EqualTo(OpTeeSmc.ReturnRpcForeignInterrupt));
        Assert.That(vm.Finish(held).Parameters[1].B, Is.EqualTo(5));
    }

    [Test]
    public async Task DrainAsync_Fails_VmGoesOn([Values] bool isCancelled)
    {
        await using MovingVm vm = new(
            options: new OpTeeGuestOptions { ShutdownDeadline = TimeSpan.FromMilliseconds(isCancelled ? 60_000 : 50) });
        uint session = vm.Open();
        uint other = vm.Open();
        PendingCall asking = vm.UntilCommand(
            vm.Start(MovingVm.Adding(session, 3, CountingApplication.AddAfterTime)), OpTeeRpc.GetTime);
        using CancellationTokenSource cancellation = new();
        Task<bool> draining = vm.Guest.DrainAsync(cancellation.Token);
        if (isCancelled)
        {
            await cancellation.CancelAsync();
            Assert.That(() => draining, Throws.InstanceOf<OperationCanceledException>());
        }
        else
        {
            Assert.That(await draining, Is.False);
        }

        Assert.That(vm.Add(other, 5), Is.EqualTo((5UL, 5UL)));
        Assert.That(vm.Finish(asking).ReturnCode, Is.Zero);
    }

    [Test]
    public async Task DrainAsync_DeadlineOfItsOwn_IsTheOneThatCounts()
    {
        await using MovingVm vm = new(options: new OpTeeGuestOptions { ShutdownDeadline = TimeSpan.FromMinutes(10) });
        PendingCall asking = vm.UntilCommand(
            vm.Start(MovingVm.Adding(vm.Open(), 3, CountingApplication.AddAfterTime)), OpTeeRpc.GetTime);

        Assert.That(await vm.Guest.DrainAsync(TimeSpan.FromMilliseconds(50)), Is.False);
        Task<bool> draining = vm.Guest.DrainAsync(Timeout.InfiniteTimeSpan);
        await Task.Delay(20);
        Assert.That(draining.IsCompleted, Is.False);
        Assert.That(vm.Finish(asking).ReturnCode, Is.Zero);
        Assert.That(await draining);
        Assert.That(
            () => vm.Guest.DrainAsync(TimeSpan.FromMilliseconds(-2)), Throws.TypeOf<ArgumentOutOfRangeException>());
    }

    [Test]
    public async Task SaveAsync_OperationAtTheTee_IsRefusedAndGoesOn()
    {
        await using MovingVm vm = new();
        uint session = vm.Open();
        PendingCall asking = vm.UntilCommand(
            vm.Start(MovingVm.Adding(session, 3, CountingApplication.AddAfterTime)), OpTeeRpc.GetTime);

        Assert.That(
            () => vm.SaveAsync(),
            Throws.TypeOf<OpTeeStateException>().With.Message.Contains(
                CountingApplication.PerSession.Uuid.ToString()));
        vm.Guest.Resume();

        Assert.That(vm.Finish(asking).Parameters[1].B, Is.EqualTo(3));
    }

    [Test]
    public async Task RestoreAsync_OperationWasDropped_GuestGetsTargetDeadAndItsMemoryBack(
        [Values] bool hasAnswered, [Values] bool hasMemory)
    {
        await using MovingVm vm = new();
        uint session = vm.Open();
        uint other = vm.Open();
        _ = vm.Add(other, 1);
        uint command = hasMemory ? CountingApplication.AddAfterAllocation : CountingApplication.AddAfterTime;
        PendingCall asking = vm.UntilCommand(vm.Start(MovingVm.Adding(session, 3, command)), OpTeeRpc.GetTime);
        Assert.That(await vm.Guest.PauseAsync());
        if (hasAnswered)
        {
            asking = vm.Step(asking);
        }

        await vm.MoveAsync(s_dropping);
        GuestMessage answer = vm.Finish(asking);

        Assert.That(
            ((TeeReturnCode)answer.ReturnCode, (TeeOrigin)answer.ReturnOrigin),
            Is.EqualTo((TeeReturnCode.TargetDead, TeeOrigin.Tee)));
        Assert.That(vm.Services.Memory, Is.Empty, "The guest has its memory back.");
        Assert.That((TeeReturnCode)vm.Driver.Send(MovingVm.Adding(session, 1)).ReturnCode,
            Is.EqualTo(TeeReturnCode.TargetDead));
        Assert.That(vm.Add(other, 1), Is.EqualTo((2UL, 2UL)));
        Assert.That(vm.Driver.CloseSession(session).ReturnCode, Is.Zero);
    }

    [Test]
    public async Task RestoreAsync_GuestIsAllocatingForADroppedOperation_ItsMemoryGoesBack()
    {
        await using MovingVm vm = new();
        uint session = vm.Open();
        PendingCall asking = vm.UntilCommand(
            vm.Start(MovingVm.Adding(session, 3, CountingApplication.AddAfterAllocation)),
            OpTeeRpc.AllocateSharedMemory);

        await vm.MoveAsync(s_dropping);
        GuestMessage answer = vm.Finish(asking);

        Assert.That((TeeReturnCode)answer.ReturnCode, Is.EqualTo(TeeReturnCode.TargetDead));
        Assert.That(vm.Services.Memory, Is.Empty);
    }

    [Test]
    public async Task RestoreAsync_SleepingCall_IsWokenThere([Values] bool hasEnded)
    {
        CountingLine line = new();
        await using MovingVm vm = new(options: new OpTeeGuestOptions
        {
            NotificationInterrupt = line,
            SleepAfter = TimeSpan.FromMilliseconds(1),
        });
        _ = vm.Driver.Call(OpTeeSmc.EnableAsyncNotification);
        uint session = vm.Open();
        PendingCall sleeping = vm.UntilCommand(
            vm.Start(MovingVm.Adding(session, 3, CountingApplication.AddWhenReleased)), OpTeeRpc.Notification);
        uint number = (uint)vm.Asked(sleeping).Parameters[0].B;
        if (hasEnded)
        {
            vm.MayGoOn.Set();
            Assert.That(await vm.Guest.DrainAsync());
        }
        else
        {
            // It computes, and does not come to a halt: the VMM gives up waiting and lets it go on to its end.
            using CancellationTokenSource soon = new(50);
            Assert.That(() => vm.Guest.PauseAsync(soon.Token), Throws.InstanceOf<OperationCanceledException>());
            vm.MayGoOn.Set();
        }

        byte[] state = await vm.SaveAsync();
        int before = line.Pulses;
        await vm.RestoreAsync(state);
        int whilePaused = line.Pulses;
        vm.Guest.Resume();
        SmcRegisters notified = vm.Driver.Call(OpTeeSmc.GetAsyncNotificationValue);
        GuestMessage answer = vm.Finish(sleeping);

        Assert.That((whilePaused - before, line.Pulses - whilePaused), Is.EqualTo((0, 1)));
        Assert.That((notified.X1, notified.X2 & 1), Is.EqualTo(((ulong)number, 1UL)));
        Assert.That((answer.ReturnCode, answer.Parameters[1].B), Is.EqualTo((0u, 3UL)));
    }

    [Test]
    public async Task RestoreAsync_OldResumeInformation_IsRefused()
    {
        await using MovingVm vm = new();
        uint session = vm.Open();
        PendingCall asking = vm.UntilCommand(
            vm.Start(MovingVm.Adding(session, 3, CountingApplication.AddAfterTime)), OpTeeRpc.GetTime);
        ulong stale = asking.Registers.X3;
        _ = vm.Finish(asking);

        await vm.MoveAsync();

        Assert.That(vm.Driver.Call(OpTeeSmc.ReturnFromRpc, 0, 0, stale).X0, Is.EqualTo(OpTeeSmc.ReturnResume));
    }

    [Test]
    public async Task RestoreAsync_EarlierDriverIsNotGone_StaysBehind()
    {
        await using MovingVm vm = new();
        uint session = vm.Open();
        PendingCall old = vm.UntilCommand(
            vm.Start(MovingVm.Adding(session, 3, CountingApplication.AddAfterTime)), OpTeeRpc.GetTime);
        _ = await vm.Guest.PauseAsync();
        _ = vm.Driver.Call(OpTeeSmc.ExchangeCapabilities, 0);

        await vm.MoveAsync();

        Assert.That(vm.Guest.Status, Is.EqualTo(GuestBench.Nothing));
        Assert.That(
            vm.Driver.Call(OpTeeSmc.ReturnFromRpc, 0, 0, old.Registers.X3).X0, Is.EqualTo(OpTeeSmc.ReturnResume));
        Assert.That(vm.Add(vm.Open(), 1), Is.EqualTo((1UL, 1UL)));
    }
}
