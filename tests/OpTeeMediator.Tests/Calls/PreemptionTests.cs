using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;

namespace OpTeeMediator.Tests.Calls;

/// <summary>Calls that take longer than the quantum: the guest takes its interrupts and resumes them.</summary>
[Parallelizable(ParallelScope.All)]
internal sealed class PreemptionTests
{
    private const ulong Cookie = 0xffff_0000_0938_5a80;

    [TestCase(false)]
    [TestCase(true)]
    public async Task Invoke_TakesLongerThanTheQuantum_IsResumedOnAnotherThread(bool onWorkers)
    {
        using ManualResetEventSlim gate = new(false);
        await using GuestBench bench = Create(onWorkers, gate);
        uint session = bench.Open();
        PendingCall call = bench.StartInvoke(session, GuestParameter.ValueOut());

        SmcRegisters again = await Task.Factory.StartNew(() => bench.Resume(call), TaskCreationOptions.LongRunning);
        gate.Set();
        GuestMessage answer = await Task.Factory.StartNew(() => bench.Finish(call with { Registers = again }),
            TaskCreationOptions.LongRunning);

        Assert.That(call.Registers.X3, Is.Not.Zero.And.LessThanOrEqualTo(uint.MaxValue));
        Assert.That((again.X0, again.X3), Is.EqualTo((0xffff_0004ul, again.X3))
            .And.Not.EqualTo((0xffff_0004ul, call.Registers.X3)));
        Assert.That((answer.ReturnCode, answer.ReturnOrigin, answer.Parameters[0].A), Is.EqualTo((0u, 4u, 42ul)));
        Assert.That(bench.Guest.Status.CallsInFlight, Is.Zero);
    }

    [Test]
    public async Task Resume_ForgedStaleOrDoubled_ResumeErrorAndHarmless()
    {
        using ManualResetEventSlim gate = new(false);
        await using GuestBench bench = Create(onWorkers: true, gate);
        uint session = bench.Open();
        PendingCall call = bench.StartInvoke(session, GuestParameter.ValueOut());
        SmcRegisters again = bench.Resume(call);
        ulong good = again.X3;

        // Stale; another slot; no slot; another generation; slot 0 does not exist.
        ulong[] forged =
            [call.Registers.X3, good + 1, good | 0xff, good ^ 0x100, good & ~0xfful, 0, ulong.MaxValue, 1, 0x101];
        ulong[] answers = [.. forged.Select(resume => bench.Resume(resume).X0)];
        gate.Set();
        GuestMessage answer = bench.Finish(call with { Registers = again });

        Assert.That(answers, Is.All.EqualTo((ulong)OpTeeSmc.ReturnResume));
        Assert.That((answer.ReturnCode, answer.Parameters[0].A), Is.EqualTo((0u, 42ul)));
        Assert.That(bench.Resume(good).X0, Is.EqualTo(OpTeeSmc.ReturnResume), "The call has ended.");
    }

    [Test]
    public async Task Resume_TwoVcpusWithTheSameInformation_OneGetsTheCall()
    {
        using ManualResetEventSlim gate = new(false);
        await using GuestBench bench = Create(onWorkers: true, gate);
        uint session = bench.Open();
        for (int round = 0; round < 50; round++)
        {
            gate.Reset();
            PendingCall call = bench.StartInvoke(session, GuestParameter.ValueOut());
            gate.Set();
            using Barrier start = new(2);

            ulong[] answers = await Task.WhenAll(Enumerable.Range(0, 2).Select(_ => Task.Factory.StartNew(
                () =>
                {
                    start.SignalAndWait();
                    return bench.Driver.Finish(bench.Resume(call)) + 0ul;
                },
                TaskCreationOptions.LongRunning)));

            Assert.That(answers, Is.EquivalentTo((ulong[])[OpTeeSmc.ReturnOk, OpTeeSmc.ReturnResume]));
        }
    }

    [Test]
    public async Task Invoke_EndsWhileTheGuestIsAway_ResultIsWrittenAtTheResume()
    {
        using ManualResetEventSlim gate = new(false);
        await using GuestBench bench = Create(onWorkers: false, gate);
        uint session = bench.Open();
        PendingCall call = bench.StartInvoke(session, GuestParameter.ValueOut());
        gate.Set();
        await Task.Delay(20);

        uint before = bench.Driver.ReadMessage(call.Page, 1).ReturnCode;
        GuestMessage answer = bench.Finish(call);

        Assert.That((before, answer.ReturnCode), Is.EqualTo((GuestMessage.Untouched, 0u)));
    }

    [TestCase(false)]
    [TestCase(true)]
    public async Task OpenSession_TakesLong_SessionIsUsableOnlyAtItsEnd(bool onWorkers)
    {
        using ManualResetEventSlim gate = new(false);
        await using GuestBench bench = Create(onWorkers, gate);
        bench.Backend.OnOpen = _ => End(gate, onWorkers, null);
        PendingCall call = bench.Start(FakeDriver.Opening(GuestBench.Application, default, 0));

        // The id that it is going to have.
        uint refused = bench.Driver.TrySend(GuestBench.Invocation(1, 0));
        uint code = bench.Driver.ReadMessage(bench.Driver.MessagePage, 0).ReturnCode;
        gate.Set();
        GuestMessage answer = bench.Finish(call);

        Assert.That((refused, code), Is.EqualTo((OpTeeSmc.ReturnOk, 0xffff_0006u)));
        Assert.That((answer.ReturnCode, answer.Session), Is.EqualTo((0u, 1u)));
    }

    [Test]
    public async Task Unregister_BufferInUse_WaitsUntilItIsNot()
    {
        using ManualResetEventSlim gate = new(false);
        await using GuestBench bench = Create(onWorkers: true, gate);
        uint session = bench.Open();
        ulong[] pages = bench.Share(Cookie, 1);
        PendingCall call = bench.StartInvoke(session, GuestParameter.RegisteredIn(0, 1, Cookie));

        PendingCall unregistering = bench.Start(GuestBench.Unregistering(Cookie));
        uint refused = bench.Driver.Invoke(session, 0, GuestParameter.RegisteredIn(0, 1, Cookie)).ReturnCode;
        uint twice = bench.Driver.Unregister(Cookie).ReturnCode;
        SmcRegisters still = bench.Resume(unregistering);
        bool isPinned = !bench.Ram.TryDiscard(new GuestRange(pages[0], 0x1000));
        int registered = bench.Backend.RegisteredBuffers;
        gate.Set();
        uint invoked = bench.Finish(call).ReturnCode;
        uint unregistered = bench.Finish(unregistering with { Registers = still }).ReturnCode;

        Assert.That((unregistering.Registers.X0, still.X0, isPinned, registered),
            Is.EqualTo((0xffff_0004ul, 0xffff_0004ul, true, 1)));
        Assert.That((refused, twice), Is.EqualTo((0xffff_0006u, 0xffff_0006u)),
            "The buffer is not to be used any more.");
        Assert.That((invoked, unregistered, bench.Backend.RegisteredBuffers), Is.EqualTo((0u, 0u, 0)));
        Assert.That(bench.Ram.TryDiscard(new GuestRange(pages[0], 0x1000)));
    }

    [Test]
    public async Task CloseSession_CommandRunning_WaitsUntilItIsNot()
    {
        using ManualResetEventSlim gate = new(false);
        await using GuestBench bench = Create(onWorkers: true, gate);
        uint session = bench.Open();
        PendingCall call = bench.StartInvoke(session, GuestParameter.ValueOut());

        PendingCall closing = bench.Start(GuestBench.Closing(session));
        uint refused = bench.Driver.Invoke(session, 0).ReturnCode;
        uint twice = bench.Driver.CloseSession(session).ReturnCode;
        int open = bench.Backend.OpenSessions;
        uint cancelled = bench.Driver.Cancel(session, 0).ReturnCode;
        gate.Set();
        uint invoked = bench.Finish(call).ReturnCode;
        uint closed = bench.Finish(closing).ReturnCode;

        Assert.That((closing.Registers.X0, open, cancelled), Is.EqualTo((0xffff_0004ul, 1, 0u)));
        Assert.That((refused, twice), Is.EqualTo((0xffff_0006u, 0xffff_0006u)));
        Assert.That((invoked, closed, bench.Backend.OpenSessions, bench.Guest.Status.Sessions),
            Is.EqualTo((0u, 0u, 0, 0)));
    }

    [TestCase(0u, 0u, 1)]
    [TestCase(7u, 7u, 1)]
    [TestCase(7u, 0u, 0)]
    public async Task Cancel_CallOfTheSession_OnlyWithItsId(uint id, uint cancelled, int cancellations)
    {
        using ManualResetEventSlim gate = new(false);
        await using GuestBench bench = Create(onWorkers: true, gate);
        uint session = bench.Open();
        uint other = bench.Open();
        bool isRequested = false;
        bench.Backend.OnCancel = request =>
        {
            isRequested = request.IsCancellationRequested;
            gate.Set();
        };
        PendingCall call = bench.Start(GuestBench.Invocation(session, 0) with { CancelId = id });

        _ = bench.Driver.Cancel(other, id);
        _ = bench.Driver.Cancel(session, cancelled);
        _ = bench.Driver.Cancel(session, cancelled);
        int heard = bench.Backend.Cancellations;
        gate.Set();
        _ = bench.Finish(call);
        _ = bench.Driver.Cancel(session, cancelled);

        Assert.That((heard, isRequested, bench.Backend.Cancellations),
            Is.EqualTo((cancellations, cancellations == 1, cancellations)), "Once a call, and while it runs.");
        Assert.That(bench.Driver.Invoke(session, 0).ReturnCode, Is.Zero);
    }

    [Test]
    public async Task Invoke_AfterACancelledOne_IsNotCancelled()
    {
        using ManualResetEventSlim gate = new(false);
        await using GuestBench bench =
            new(new OpTeeGuestOptions { Limits = GuestBench.OneCall }, GuestBench.OnWorkers());
        List<bool> seen = [];
        bench.Backend.OnInvoke = request =>
        {
            gate.Wait();
            seen.Add(request.IsCancellationRequested);
            return new(TeeResult.Success);
        };
        uint session = bench.Open();
        PendingCall call = bench.StartInvoke(session);
        _ = bench.Driver.Cancel(session, 0);
        gate.Set();
        _ = bench.Finish(call);

        _ = bench.Driver.Invoke(session, 0);

        Assert.That(seen, Is.EqualTo((bool[])[true, false]));
    }

    private static GuestBench Create(bool onWorkers, ManualResetEventSlim gate)
    {
        GuestBench bench = new(
            new OpTeeGuestOptions { Quantum = TimeSpan.FromMilliseconds(1),
                ShutdownDeadline = TimeSpan.FromSeconds(20) },
            onWorkers ? GuestBench.OnWorkers() : new ScriptedBackend());
        bench.Backend.OnInvoke = request => End(gate, onWorkers, request);
        return bench;
    }

    /// <summary>Ends when the gate opens: in the call on a worker, else in a task that the call awaits.</summary>
    private static ValueTask<TeeResult> End(ManualResetEventSlim gate, bool onWorkers, TeeRequest? request)
    {
        if (onWorkers)
        {
            return new(Wait(gate, request));
        }

        return new(Task.Factory.StartNew(() => Wait(gate, request), TaskCreationOptions.LongRunning));
    }

    private static TeeResult Wait(ManualResetEventSlim gate, TeeRequest? request)
    {
        gate.Wait();
        if (request is not null && request.Parameters[0].Kind == TeeParameterKind.ValueOutput)
        {
            request.SetValue(0, 42, 0);
        }

        return TeeResult.Success;
    }
}
