using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;

namespace OpTeeMediator.Tests.Guests;

/// <summary>What a paused VM's operations do, whatever its vCPUs bring: nothing.</summary>
internal sealed class GuestPauseTests
{
    private const uint CancelId = 5;

    /// <summary>How an operation waits for its guest.</summary>
    public enum Waits
    {
        InlineByAwait,
        OnWorkerByAwait,
        OnWorkerByBlocking,
        OnPoolByAwait,
    }

    [Test]
    public async Task ReturnFromRpc_VmPaused_OperationGoesOnAfterResume([Values] Waits waits)
    {
        int steps = 0;
        await using GuestBench bench = Create(waits, () => Interlocked.Increment(ref steps));
        SmcRegisters asked = StartUntilAsked(bench, bench.Open());

        bool isPaused = await bench.Guest.PauseAsync();
        SmcRegisters held = Answer(bench, asked);
        List<ulong> answers = [held.X0];
        for (int round = 0; round < 3; round++)
        {
            held = bench.Resume(held.X3);
            answers.Add(held.X0);
        }

        int stepsWhilePaused = Volatile.Read(ref steps);
        bool isStillPaused = await bench.Guest.PauseAsync();
        bench.Guest.Resume();
        uint end = bench.Driver.Finish(held);

        Assert.That((isPaused, isStillPaused, stepsWhilePaused), Is.EqualTo((true, true, 0)));
        Assert.That(answers, Has.All.EqualTo(OpTeeSmc.ReturnRpcForeignInterrupt));
        Assert.That((end, steps), Is.EqualTo((OpTeeSmc.ReturnOk, 1)));
        Assert.That(bench.Driver.ReadMessage(bench.Driver.MessagePage, 0).ReturnCode,
            Is.EqualTo((uint)TeeReturnCode.Success), "The guest's answer counts.");
    }

    [Test]
    public async Task ReturnFromRpc_VmPausedAndResumedAndPausedAgain_IsHeldAgain([Values] Waits waits)
    {
        int steps = 0;
        await using GuestBench bench = Create(waits, () => Interlocked.Increment(ref steps));
        SmcRegisters asked = StartUntilAsked(bench, bench.Open());
        _ = await bench.Guest.PauseAsync();
        SmcRegisters held = Answer(bench, asked);

        // A worker may have gone on already, in between; then the pause waits until it has ended.
        bench.Guest.Resume();
        bool isPaused = await bench.Guest.PauseAsync();
        int before = Volatile.Read(ref steps);
        held = bench.Resume(held.X3);
        int after = Volatile.Read(ref steps);
        bench.Guest.Resume();
        uint end = held.X0 == OpTeeSmc.ReturnOk ? OpTeeSmc.ReturnOk : bench.Driver.Finish(held);

        Assert.That((isPaused, after, end, steps), Is.EqualTo((true, before, OpTeeSmc.ReturnOk, 1)));
    }

    [Test]
    public async Task ExchangeCapabilities_VmPaused_WhatTheDriverLeftEndsAfterResume([Values] Waits waits)
    {
        int steps = 0;
        await using GuestBench bench = Create(waits, () => Interlocked.Increment(ref steps));
        _ = bench.Share(1, 1);
        _ = StartUntilAsked(bench, bench.Open());

        bool isPaused = await bench.Guest.PauseAsync();
        ulong exchanged = bench.Driver.Call(OpTeeSmc.ExchangeCapabilities, 0).X0;
        bool isStillPaused = await bench.Guest.PauseAsync();
        (int, int, int, int) whilePaused = (Volatile.Read(ref steps), bench.Backend.Cancellations,
            bench.Backend.OpenSessions, bench.Backend.RegisteredBuffers);
        bench.Guest.Resume();

        Assert.That(() => (bench.Backend.OpenSessions, bench.Backend.RegisteredBuffers, bench.Guest.Status),
            Is.EqualTo((0, 0, GuestBench.Nothing)).After(30_000, 1));
        Assert.That((isPaused, exchanged, isStillPaused, whilePaused), Is.EqualTo((true, 0UL, true, (0, 0, 1, 1))));
        Assert.That(steps, Is.EqualTo(1));
    }

    [Test]
    public async Task ResetOrDispose_VmPaused_WhatTheDriverLeftEnds(
        [Values] Waits waits, [Values] bool isReset, [Values] bool isRetiredBefore)
    {
        int steps = 0;
        await using GuestBench bench = Create(waits, () => Interlocked.Increment(ref steps));
        _ = bench.Share(1, 1);
        SmcRegisters asked = StartUntilAsked(bench, bench.Open());
        _ = await bench.Guest.PauseAsync();
        _ = Answer(bench, asked);
        if (isRetiredBefore)
        {
            _ = bench.Driver.Call(OpTeeSmc.ExchangeCapabilities, 0);
        }

        await (isReset ? bench.Guest.ResetAsync() : bench.Guest.DisposeAsync().AsTask());

        Assert.That((bench.Backend.OpenSessions, bench.Backend.RegisteredBuffers, bench.Guest.Status, steps),
            Is.EqualTo((0, 0, GuestBench.Nothing, 1)));
        Assert.That((bench.Backend.Resets, bench.Backend.Disposals), Is.EqualTo(isReset ? (1, 0) : (0, 1)));
    }

    [Test]
    public async Task ResetAsync_VmPaused_StaysPaused()
    {
        await using GuestBench bench = new();
        _ = await bench.Guest.PauseAsync();

        await bench.Guest.ResetAsync();
        PendingCall held = bench.Start(FakeDriver.Opening(GuestBench.Application, default, 0));
        int sessions = bench.Backend.OpenSessions;
        bench.Guest.Resume();

        Assert.That((held.Registers.X0, sessions), Is.EqualTo(((ulong)OpTeeSmc.ReturnRpcForeignInterrupt, 0)));
        Assert.That(bench.Finish(held).ReturnCode, Is.Zero);
    }

    [Test]
    public async Task Cancel_VmPaused_BackendIsToldOnceAfterResume([Values] bool isSlotFree)
    {
        await using GuestBench bench = Create(Waits.InlineByAwait, () => { }, isSlotFree ? null
            : new OpTeeGuestOptions { Limits = GuestBench.OneCall });
        uint session = bench.Open();
        SmcRegisters asked = StartUntilAsked(bench, session);

        _ = await bench.Guest.PauseAsync();
        PendingCall cancelling =
            bench.Start(new GuestMessage(OpTeeMessage.CommandCancel) { Session = session, CancelId = CancelId });
        int before = bench.Backend.Cancellations;
        bench.Guest.Resume();
        int after = bench.Backend.Cancellations;
        bench.Guest.Resume();

        Assert.That((cancelling.Registers.X0, before, after, bench.Backend.Cancellations),
            Is.EqualTo(((ulong)OpTeeSmc.ReturnOk, 0, 1, 1)));
        _ = bench.Driver.Finish(Answer(bench, asked));
    }

    [Test]
    public async Task PauseAsync_OperationWaitsOutside_IsQuietAndHeldUntilResume()
    {
        using ManualResetEventSlim turn = new();
        using ManualResetEventSlim waits = new();
        int steps = 0;
        await using GuestBench bench = new(backend: GuestBench.OnWorkers());
        bench.Backend.OnInvoke = request =>
        {
            request.Guest!.BeginWait();
            waits.Set();
            turn.Wait();
            request.Guest.EndWait();
            _ = Interlocked.Increment(ref steps);
            return new(TeeResult.Success);
        };
        PendingCall call = bench.StartInvoke(bench.Open());
        waits.Wait();

        bool isPaused = await bench.Guest.PauseAsync();
        turn.Set();
        SmcRegisters held = bench.Resume(call);
        bool isStillPaused = await bench.Guest.PauseAsync();
        int before = Volatile.Read(ref steps);
        bench.Guest.Resume();

        Assert.That((isPaused, isStillPaused, before, held.X0),
            Is.EqualTo((true, true, 0, (ulong)OpTeeSmc.ReturnRpcForeignInterrupt)));
        Assert.That(bench.Finish(call with { Registers = held }).ReturnCode, Is.Zero);
        Assert.That(steps, Is.EqualTo(1));
    }

    [Test]
    public async Task PauseAsync_ResumedMeanwhile_SaysFalse()
    {
        using ManualResetEventSlim mayEnd = new();
        await using GuestBench bench = new(backend: GuestBench.OnWorkers());
        bench.Backend.OnInvoke = _ =>
        {
            mayEnd.Wait();
            return new(TeeResult.Success);
        };
        PendingCall call = bench.StartInvoke(bench.Open());

        Task<bool> pause = bench.Guest.PauseAsync();
        bench.Guest.Resume();
        bool isPaused = await pause;
        mayEnd.Set();

        Assert.That(isPaused, Is.False);
        Assert.That(bench.Finish(call).ReturnCode, Is.Zero);
        Assert.That(bench.Driver.OpenSession(GuestBench.Application).ReturnCode, Is.Zero, "Nothing is held.");
    }

    [Test]
    public async Task PauseAsync_OperationDoesNotEnd_SaysFalseAndHoldsNothing()
    {
        using ManualResetEventSlim mayEnd = new();
        await using GuestBench bench =
            new(new OpTeeGuestOptions { ShutdownDeadline = TimeSpan.FromMilliseconds(1) }, GuestBench.OnWorkers());
        bench.Backend.OnInvoke = _ =>
        {
            mayEnd.Wait();
            return new(TeeResult.Success);
        };
        PendingCall call = bench.StartInvoke(bench.Open());

        bool isPaused = await bench.Guest.PauseAsync();
        uint opened = bench.Driver.OpenSession(GuestBench.Application).ReturnCode;
        mayEnd.Set();

        Assert.That((isPaused, opened), Is.EqualTo((false, 0u)));
        Assert.That(bench.Finish(call).ReturnCode, Is.Zero);
    }

    private static GuestBench Create(Waits waits, Action goesOn, OpTeeGuestOptions? options = null)
    {
        GuestBench bench = new(options, waits == Waits.InlineByAwait ? new ScriptedBackend() : GuestBench.OnWorkers());
        bench.Backend.OnInvoke = async request =>
        {
            if (waits == Waits.OnPoolByAwait)
            {
                await Task.Yield();
            }

            TeeReturnCode code = waits == Waits.OnWorkerByBlocking
                ? request.Guest!.Call(OpTeeRpc.Suspend)
                : await request.Guest!.CallAsync(OpTeeRpc.Suspend);
            goesOn();
            return TeeResult.FromTee(code);
        };
        return bench;
    }

    /// <summary>Starts a command, and follows it until the guest is asked.</summary>
    private static SmcRegisters StartUntilAsked(GuestBench bench, uint session)
    {
        SmcRegisters registers = bench.Driver.Start(GuestBench.Invocation(session, 0) with { CancelId = CancelId });
        while (registers.X0 == OpTeeSmc.ReturnRpcForeignInterrupt)
        {
            registers = bench.Driver.Step(registers);
        }

        Assert.That(registers.X0, Is.EqualTo(OpTeeSmc.ReturnRpcCommand));
        return registers;
    }

    private static SmcRegisters Answer(GuestBench bench, SmcRegisters asked)
    {
        bench.Driver.OnRpc = message => message with { ReturnCode = 0 };
        return bench.Driver.Step(asked);
    }
}
