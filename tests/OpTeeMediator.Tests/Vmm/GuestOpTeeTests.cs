using OpTeeMediator.Forwarding;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Vmm;

/// <summary>What every <see cref="IGuestOpTee"/> does, whatever the way to the TEE.</summary>
internal sealed class GuestOpTeeTests
{
    [Test]
    public void HandlersOfTheTrustedOs_AllThree_ImplementTheInterface()
    {
        Type[] implementations =
        [
            .. new[] { typeof(IGuestOpTee).Assembly, typeof(OpTeeCompanion).Assembly }
                .SelectMany(assembly => assembly.GetTypes())
                .Where(type => type.IsClass && type.IsAssignableTo(typeof(ISmcHandler)) && type != typeof(SmcRouter)),
        ];

        Assert.That(
            implementations, Is.EquivalentTo([typeof(OpTeeGuest), typeof(OpTeeForwarder), typeof(OpTeeCompanion)]));
        Assert.That(implementations, Has.All.Matches<Type>(type => type.IsAssignableTo(typeof(IGuestOpTee))));
    }

    [Test]
    public async Task DeviceTreeNode_OfAVmWithAnInterrupt_NamesIt([Values] HandlerKind kind)
    {
        await using OpTeeBench bench = OpTeeBench.Create(kind);

        Assert.That(bench.OpTee.DeviceTreeNode.Spi, Is.EqualTo(bench.Line.Spi));
        Assert.That(bench.OpTee.ReservedMemory.IsDefault, Is.False);
    }

    [Test]
    public async Task Status_CallIsSuspended_CountsIt([Values] HandlerKind kind)
    {
        await using OpTeeBench bench = OpTeeBench.Create(kind);
        bench.Suspends = true;
        SmcRegisters call = bench.NewCall();
        int before = bench.OpTee.Status.CallsInFlight;

        SmcOutcome suspended = bench.Make(ref call);
        int during = bench.OpTee.Status.CallsInFlight;
        uint answer = bench.Finish(OpTeeBench.Next(suspended, call));

        Assert.That((before, during, answer), Is.EqualTo((0, 1, OpTeeSmc.ReturnOk)));
        Assert.That(bench.OpTee.Status.CallsInFlight, Is.Zero);
    }

    [Test]
    public async Task Handle_AfterDisposal_IsAnsweredNotSupported([Values] HandlerKind kind, [Values] bool isPaused)
    {
        await using OpTeeBench bench = OpTeeBench.Create(kind);
        if (isPaused)
        {
            _ = await bench.OpTee.PauseAsync();
        }

        await bench.OpTee.DisposeAsync();
        SmcRegisters call = bench.NewCall();
        SmcOutcome outcome = bench.Make(ref call);

        Assert.That((outcome.Kind, call.X0), Is.EqualTo((SmcOutcomeKind.Handled, SmcccReturn.NotSupported)));
        Assert.That(() => bench.OpTee.PauseAsync(), Throws.InstanceOf<ObjectDisposedException>());
        Assert.That(bench.OpTee.Resume, Throws.InstanceOf<ObjectDisposedException>());
        Assert.That(bench.OpTee.ResetAsync, Throws.InstanceOf<ObjectDisposedException>());
    }

    [Test]
    public async Task Handle_VmPausedAndCallOfAnotherService_IsNotHandled([Values] HandlerKind kind)
    {
        const uint Psci = 0x8400_0000;
        await using OpTeeBench bench = OpTeeBench.Create(kind);
        _ = await bench.OpTee.PauseAsync();
        SmcRegisters call = default;
        call.X0 = Psci;

        Assert.That(bench.Make(ref call), Is.EqualTo(SmcOutcome.NotHandled));
    }

    [Test]
    public async Task Handle_VmPaused_CallBeginsAfterResume([Values] HandlerKind kind)
    {
        await using OpTeeBench bench = OpTeeBench.Create(kind);

        bool isPaused = await bench.OpTee.PauseAsync();
        SmcRegisters call = bench.NewCall();
        SmcOutcome held = default;
        for (int round = 0; round < 3; round++)
        {
            held = bench.Make(ref call);
            call = OpTeeBench.Next(held, call);
        }

        int whilePaused = bench.Entries;
        bench.OpTee.Resume();
        uint answer = bench.Finish(call);

        Assert.That((isPaused, whilePaused, answer), Is.EqualTo((true, 0, OpTeeSmc.ReturnOk)));
        Assert.That(bench.Entries, Is.EqualTo(1), "Neither lost nor doubled.");
    }

    [Test]
    public async Task Handle_VmPaused_SuspendedCallGoesOnAfterResume([Values] HandlerKind kind)
    {
        await using OpTeeBench bench = OpTeeBench.Create(kind);
        bench.Suspends = true;
        SmcRegisters call = bench.NewCall();
        call = OpTeeBench.Next(bench.Make(ref call), call);

        bool isPaused = await bench.OpTee.PauseAsync();
        for (int round = 0; round < 3; round++)
        {
            call = OpTeeBench.Next(bench.Make(ref call), call);
        }

        int whilePaused = bench.Entries;
        bench.OpTee.Resume();
        uint answer = bench.Finish(call);

        Assert.That((isPaused, whilePaused, answer), Is.EqualTo((true, 1, OpTeeSmc.ReturnOk)));
        Assert.That(bench.Entries, Is.EqualTo(2), "Neither lost nor doubled.");
    }

    [Test]
    public async Task Handle_VmPausedAndFastCall_IsAnsweredAtTheLatestAfterResume([Values] HandlerKind kind)
    {
        await using OpTeeBench bench = OpTeeBench.Create(kind);
        SmcRegisters expected = default;
        expected.X0 = OpTeeSmc.GetOsRevision;
        SmcRegisters call = expected;
        _ = bench.Make(ref expected);

        _ = await bench.OpTee.PauseAsync();
        SmcOutcome outcome = bench.Make(ref call);
        bench.OpTee.Resume();
        if (outcome.Kind == SmcOutcomeKind.Retry)
        {
            outcome = bench.Make(ref call);
        }

        Assert.That((outcome.Kind, call.X0, call.X1),
            Is.EqualTo((SmcOutcomeKind.Handled, expected.X0, expected.X1)));
    }

    [Test]
    public async Task PauseAsync_CallIsInTheTee_WaitsForIt([Values] HandlerKind kind)
    {
        await using OpTeeBench bench = OpTeeBench.Create(kind);
        using BlockedCall call = new(bench);

        Task<bool> pause = bench.OpTee.PauseAsync();
        bool hasEndedEarly = pause.IsCompleted;
        call.Release();
        bool isPaused = await pause;
        bench.OpTee.Resume();

        Assert.That((hasEndedEarly, isPaused, await call.Answer), Is.EqualTo((false, true, OpTeeSmc.ReturnOk)));
    }

    [Test]
    public async Task PauseAsync_ResumedMeanwhile_SaysFalse([Values] HandlerKind kind)
    {
        await using OpTeeBench bench = OpTeeBench.Create(kind);
        using BlockedCall call = new(bench);

        Task<bool> pause = bench.OpTee.PauseAsync();
        bench.OpTee.Resume();
        bool isPaused = await pause;
        call.Release();

        Assert.That((isPaused, await call.Answer), Is.EqualTo((false, OpTeeSmc.ReturnOk)));
    }

    [Test]
    public async Task PauseAsync_Twice_OneResumeEndsBoth([Values] HandlerKind kind)
    {
        await using OpTeeBench bench = OpTeeBench.Create(kind);

        bool[] arePaused = [await bench.OpTee.PauseAsync(), await bench.OpTee.PauseAsync()];
        bench.OpTee.Resume();
        bench.OpTee.Resume();
        uint answer = bench.Finish(bench.NewCall());

        Assert.That(arePaused, Is.All.True);
        Assert.That(answer, Is.EqualTo(OpTeeSmc.ReturnOk));
    }

    [Test]
    public async Task PauseAsync_Cancelled_ThrowsAndTheVmGoesOn([Values] HandlerKind kind, [Values] bool isBefore)
    {
        await using OpTeeBench bench = OpTeeBench.Create(kind);
        using BlockedCall call = new(bench);
        using CancellationTokenSource cancellation = new();
        if (isBefore)
        {
            await cancellation.CancelAsync();
        }

        Task<bool> pause = PauseAsync();
        await cancellation.CancelAsync();
        Assert.That(() => pause, Throws.InstanceOf<OperationCanceledException>());
        call.Release();

        Assert.That(await call.Answer, Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(bench.Finish(bench.NewCall()), Is.EqualTo(OpTeeSmc.ReturnOk), "Nothing is held.");

        async Task<bool> PauseAsync() => await bench.OpTee.PauseAsync(cancellation.Token);
    }

    [Test]
    public async Task PauseAsync_CancelledWhileAnotherPauseHolds_StaysPaused([Values] HandlerKind kind)
    {
        await using OpTeeBench bench = OpTeeBench.Create(kind);
        _ = await bench.OpTee.PauseAsync();

        Assert.That(
            async () => await bench.OpTee.PauseAsync(new CancellationToken(canceled: true)),
            Throws.InstanceOf<OperationCanceledException>());
        SmcRegisters call = bench.NewCall();
        call = OpTeeBench.Next(bench.Make(ref call), call);
        int whilePaused = bench.Entries;
        bench.OpTee.Resume();

        Assert.That((whilePaused, bench.Finish(call)), Is.EqualTo((0, OpTeeSmc.ReturnOk)));
    }

    [Test]
    public async Task ResetAsync_VmPaused_EndsAndTheVmStaysPaused([Values] HandlerKind kind)
    {
        await using OpTeeBench bench = OpTeeBench.Create(kind);
        bench.Suspends = true;
        SmcRegisters old = bench.NewCall();
        _ = bench.Make(ref old);
        _ = await bench.OpTee.PauseAsync();

        await bench.OpTee.ResetAsync();
        bench.Suspends = false;
        int before = bench.Entries;
        SmcRegisters call = bench.NewCall();
        call = OpTeeBench.Next(bench.Make(ref call), call);
        int whilePaused = bench.Entries - before;
        bool isStillPaused = await bench.OpTee.PauseAsync();
        bench.OpTee.Resume();

        Assert.That((whilePaused, isStillPaused), Is.EqualTo((0, true)));
        Assert.That(bench.Finish(call), Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(bench.OpTee.Status.CallsInFlight, Is.Zero, "The reset has ended the old call.");
    }

    [Test]
    public async Task Interrupt_VmPaused_IsRaisedOnceAfterResume([Values] HandlerKind kind)
    {
        await using OpTeeBench bench = OpTeeBench.Create(kind);
        Action raise = bench.PrepareInterrupt();
        int before = bench.Line.Pulses;

        Task<bool> pause = bench.OpTee.PauseAsync();
        raise();
        bool isPaused = await pause;
        int whilePaused = bench.Line.Pulses;
        bench.OpTee.Resume();
        Assert.That(() => bench.Line.Pulses, Is.EqualTo(before + 1).After(30_000, 1));
        _ = await bench.OpTee.PauseAsync();
        bench.OpTee.Resume();

        Assert.That((isPaused, whilePaused, bench.Line.Pulses), Is.EqualTo((true, before, before + 1)));
    }

    [Test]
    public async Task PauseAsync_ForwardedCallDoesNotReturnInTime_SaysFalseAndHoldsNothing()
    {
        await using ForwardedBench bench = new(deadline: TimeSpan.FromMilliseconds(1));
        using BlockedCall call = new(bench);

        bool isPaused = await bench.OpTee.PauseAsync();
        bench.InTee = () => { };
        uint other = bench.Finish(bench.NewCall());
        call.Release();

        Assert.That((isPaused, other, await call.Answer), Is.EqualTo((false, OpTeeSmc.ReturnOk, OpTeeSmc.ReturnOk)));
    }
}
