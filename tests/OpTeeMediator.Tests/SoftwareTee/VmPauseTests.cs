using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;

namespace OpTeeMediator.Tests.SoftwareTee;

/// <summary>Applications that wait cannot keep their VM from being paused, and go on when it is resumed.</summary>
internal sealed class VmPauseTests
{
    private const uint CancelId = 1;

    [TestCase(OpTeeMessage.CommandInvoke)]
    [TestCase(OpTeeMessage.CommandCloseSession)]
    [TestCase(OpTeeMessage.CommandOpenSession)]
    public async Task PauseAsync_OperationWaitsForItsTurn_IsQuietAndHeld(uint command)
    {
        await using GuestCallBench bench = new(SoftwareTeeBench.MultiSession,
            call => new(call.CommandId == 1 ? call.Guest.GetTime(out _) : TeeReturnCode.Success));
        uint other = bench.Open(SoftwareTeeBench.MultiSession.Uuid);
        PendingCall inside = bench.StartUntilCommand(bench.Session, command: 1);
        PendingCall waiting = command switch
        {
            OpTeeMessage.CommandInvoke => bench.Start(other),
            OpTeeMessage.CommandCloseSession => Start(bench, GuestBench.Closing(other)),
            _ => Start(bench, FakeDriver.Opening(SoftwareTeeBench.MultiSession.Uuid, default, 0)),
        };

        bool isPaused = await bench.Guest.PauseAsync();
        string[] before = [.. bench.Application!.Journal];
        bench.Driver.WriteMessage(inside.Page + OpTeeMessage.HeaderSize, bench.Services.Serve(bench.Asked(inside)));
        SmcRegisters held = bench.Resume(inside.Registers);
        bool isStillPaused = await bench.Guest.PauseAsync();
        string[] after = [.. bench.Application.Journal];
        bench.Guest.Resume();

        Assert.That((isPaused, isStillPaused, held.X0),
            Is.EqualTo((true, true, (ulong)OpTeeSmc.ReturnRpcForeignInterrupt)));
        Assert.That(after, Is.EqualTo(before));
        Assert.That(bench.Finish(inside with { Registers = held }), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(bench.Driver.Finish(waiting.Registers), Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(bench.Application.Journal, Has.Count.EqualTo(after.Length + 1));
    }

    [Test]
    public async Task PauseAsync_ApplicationWaitsForTime_IsQuietAndHeldThoughItIsCancelled([Values] bool awaits)
    {
        int steps = 0;
        await using GuestCallBench bench = new(SoftwareTeeBench.PerSession, async call =>
        {
            _ = call.UnmaskCancellation();
            if (awaits)
            {
                await Task.Delay(Timeout.InfiniteTimeSpan, call.CancellationToken).ConfigureAwait(
                    ConfigureAwaitOptions.ContinueOnCapturedContext | ConfigureAwaitOptions.SuppressThrowing);
            }
            else
            {
                _ = call.Wait(Timeout.InfiniteTimeSpan);
            }

            _ = Interlocked.Increment(ref steps);
            return TeeReturnCode.Cancel;
        });
        PendingCall call = bench.Start(bench.Session, CancelId);

        bool isPaused = await bench.Guest.PauseAsync();
        PendingCall cancelling =
            Start(bench, new GuestMessage(OpTeeMessage.CommandCancel) { Session = bench.Session, CancelId = CancelId });
        bool isStillPaused = await bench.Guest.PauseAsync();
        int before = Volatile.Read(ref steps);
        bench.Guest.Resume();

        Assert.That((isPaused, isStillPaused, before), Is.EqualTo((true, true, 0)));
        Assert.That(bench.Driver.Finish(cancelling.Registers), Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(bench.Finish(call), Is.EqualTo(TeeReturnCode.Cancel));
        Assert.That(steps, Is.EqualTo(1));
    }

    [Test]
    public async Task PauseAsync_AwaitedThingIsDone_ApplicationGoesOnAfterResume()
    {
        TaskCompletionSource done = new();
        int steps = 0;
        await using GuestCallBench bench = new(SoftwareTeeBench.PerSession, async call =>
        {
            await done.Task;
            _ = Interlocked.Increment(ref steps);
            return TeeReturnCode.Success;
        });
        PendingCall pending = bench.Start(bench.Session);

        bool isPaused = await bench.Guest.PauseAsync();
        done.SetResult();
        bool isStillPaused = await bench.Guest.PauseAsync();
        int before = Volatile.Read(ref steps);
        bench.Guest.Resume();

        Assert.That((isPaused, isStillPaused, before), Is.EqualTo((true, true, 0)));
        Assert.That(bench.Finish(pending), Is.EqualTo(TeeReturnCode.Success));
    }

    [Test]
    public async Task PauseAsync_TeardownWaitsForAnApplication_IsQuietAndHeld()
    {
        using ManualResetEventSlim waits = new();
        TaskCompletionSource done = new();
        ClosingApplication application = new(async () =>
        {
            waits.Set();
            await done.Task;
        });
        await using GuestBench other = new();
        SoftwareTeeBackend tee = new(new SoftwareTeeOptions().Add(SoftwareTeeBench.PerSession, () => application));
        await using OpTeeGuest guest = new(other.Ram, tee);
        FakeDriver driver = new(guest, other.Ram, new GuestRange(GuestBench.FreePages, 1 << 20));
        _ = driver.OpenSession(SoftwareTeeBench.PerSession.Uuid);
        _ = driver.Call(OpTeeSmc.ExchangeCapabilities, 0);
        waits.Wait();

        bool isPaused = await guest.PauseAsync();
        done.SetResult();
        bool isStillPaused = await guest.PauseAsync();
        bool hasClosed = application.HasClosed;
        guest.Resume();

        Assert.That((isPaused, isStillPaused, hasClosed), Is.EqualTo((true, true, false)));
        Assert.That(() => application.HasClosed, Is.True.After(30_000, 1));
    }

    private static PendingCall Start(GuestCallBench bench, GuestMessage message)
    {
        ulong page = bench.Driver.AllocatePage();
        bench.Driver.WriteMessage(page, message);
        return new PendingCall(page, bench.Driver.Call(OpTeeSmc.CallWithRpcArgument, page >> 32, page),
            message.Parameters.Length);
    }

    private sealed class ClosingApplication(Func<Task> work) : TrustedApplication
    {
        private volatile bool _hasClosed;

        public bool HasClosed => _hasClosed;

        protected internal override async ValueTask CloseSessionAsync(ApplicationCall call)
        {
            await work();
            _hasClosed = true;
        }
    }
}
