using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;
using OpTeeMediator.Tests.Rpc;

namespace OpTeeMediator.Tests.SoftwareTee;

/// <summary>An application that waits for time.</summary>
internal sealed class WaitTests
{
    private const uint CancelId = 1;

    [TestCase(0)]
    [TestCase(5)]
    public async Task Wait_TimeIsOver_Success(int milliseconds)
    {
        await using GuestCallBench bench = Create(call => call.Wait(TimeSpan.FromMilliseconds(milliseconds)));

        Assert.That(bench.Invoke(), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(bench.Services.Calls, Is.Empty, "The guest has no part in it.");
    }

    [TestCase(-1)]
    [TestCase(int.MaxValue)]
    public async Task Wait_Cancelled_Cancel(int milliseconds)
    {
        await using GuestCallBench bench = Create(call => WaitUnmasked(call, TimeSpan.FromMilliseconds(milliseconds)));
        PendingCall call = bench.Start(bench.Session, CancelId);

        _ = bench.Driver.Cancel(bench.Session, CancelId);

        Assert.That(bench.Finish(call), Is.EqualTo(TeeReturnCode.Cancel));
        Assert.That(bench.Driver.ReadMessage(call.Page, 0).ReturnOrigin,
            Is.EqualTo((uint)TeeOrigin.TrustedApplication));
    }

    [Test]
    public async Task Wait_CancelledBefore_DoesNotWait()
    {
        using ManualResetEventSlim mayWait = new();
        await using GuestCallBench bench = Create(call =>
        {
            mayWait.Wait();
            return WaitUnmasked(call, Timeout.InfiniteTimeSpan);
        });
        PendingCall call = bench.Start(bench.Session, CancelId);
        _ = bench.Driver.Cancel(bench.Session, CancelId);

        mayWait.Set();

        Assert.That(bench.Finish(call), Is.EqualTo(TeeReturnCode.Cancel));
    }

    [Test]
    public async Task Wait_GuestIsGone_Ends()
    {
        await using GuestCallBench bench = Create(call => call.Wait(Timeout.InfiniteTimeSpan));
        _ = bench.Start(bench.Session);

        await bench.Guest.DisposeAsync();

        Assert.That(bench.Application!.Journal, Does.Contain("Destroy"));
    }

    [Test]
    public async Task Wait_OtherCallsBeginAndEnd_WaitsOn()
    {
        await using GuestCallBench bench = Create(
            call => call.CommandId == CancelId ? WaitUnmasked(call, Timeout.InfiniteTimeSpan)
                : call.Wait(TimeSpan.FromMilliseconds(1)),
            SoftwareTeeBench.Concurrent);
        uint other = bench.Open(SoftwareTeeBench.Concurrent.Uuid);
        PendingCall call = bench.Start(bench.Session, CancelId);

        uint code = bench.Driver.Invoke(other, 0).ReturnCode;
        SmcRegisters still = bench.Resume(call.Registers);
        _ = bench.Driver.Cancel(bench.Session, CancelId);

        Assert.That((code, still.X0), Is.EqualTo((0u, (ulong)OpTeeSmc.ReturnRpcForeignInterrupt)));
        Assert.That(bench.Finish(call with { Registers = still }), Is.EqualTo(TeeReturnCode.Cancel));
    }

    [Test]
    public async Task Wait_LongerThanSleepAfter_GuestsThreadSleepsAndACancellationWakesIt()
    {
        CountingLine line = new();
        await using GuestCallBench bench = new(
            SoftwareTeeBench.PerSession,
            call => new(WaitUnmasked(call, Timeout.InfiniteTimeSpan)),
            new OpTeeGuestOptions { NotificationInterrupt = line, SleepAfter = TimeSpan.FromMilliseconds(2) });
        _ = bench.Driver.Call(OpTeeSmc.EnableAsyncNotification);
        PendingCall sleeping = bench.StartUntilCommand(bench.Session, CancelId);
        GuestMessage asked = bench.Asked(sleeping);
        int before = line.Pulses;

        _ = bench.Driver.Cancel(bench.Session, CancelId);

        Assert.That((asked.Command, asked.Parameters[0].A),
            Is.EqualTo((OpTeeRpc.Notification, (ulong)OpTeeRpc.NotificationWait)));
        Assert.That(() => line.Pulses, Is.EqualTo(before + 1).After(30_000, 1));
        Assert.That(bench.Driver.Call(OpTeeSmc.GetAsyncNotificationValue).X1, Is.EqualTo(asked.Parameters[0].B));
        Assert.That(bench.Finish(sleeping), Is.EqualTo(TeeReturnCode.Cancel));
    }

    [Test]
    public async Task Wait_WhileASessionIsClosed_Waits()
    {
        TeeReturnCode code = TeeReturnCode.Generic;
        await using GuestCallBench bench = Create(_ => TeeReturnCode.Success);
        bench.Application!.WhenClosed = call => code = call.Wait(TimeSpan.FromMilliseconds(1));

        Assert.That(bench.Driver.CloseSession(bench.Session).ReturnCode, Is.Zero);
        Assert.That(code, Is.EqualTo(TeeReturnCode.Success));
    }

    [Test]
    public async Task Wait_CancelledAndMasked_LastsItsTime()
    {
        using ManualResetEventSlim mayWait = new();
        await using GuestCallBench bench = Create(call =>
        {
            mayWait.Wait();
            return call.Wait(TimeSpan.FromMilliseconds(20));
        });
        PendingCall call = bench.Start(bench.Session, CancelId);
        _ = bench.Driver.Cancel(bench.Session, CancelId);

        mayWait.Set();

        Assert.That(bench.Finish(call), Is.EqualTo(TeeReturnCode.Success));
    }

    [Test]
    public async Task Wait_DriverRestarts_LastsUntilTheVmEnds()
    {
        using ManualResetEventSlim mayLook = new();
        using ManualResetEventSlim hasLooked = new();
        bool? isCancelled = null;
        TeeReturnCode? code = null;
        await using GuestCallBench bench = Create(call =>
        {
            mayLook.Wait();
            isCancelled = call.IsCancellationRequested;
            hasLooked.Set();
            code = call.Wait(Timeout.InfiniteTimeSpan);
            return TeeReturnCode.Success;
        });
        _ = bench.Start(bench.Session);

        _ = bench.Driver.Call(OpTeeSmc.ExchangeCapabilities, 0);
        mayLook.Set();
        hasLooked.Wait();
        await bench.Guest.DisposeAsync();

        Assert.That((isCancelled, code), Is.EqualTo((false, TeeReturnCode.Cancel)));
    }

    private static TeeReturnCode WaitUnmasked(ApplicationCall call, TimeSpan time)
    {
        _ = call.UnmaskCancellation();
        return call.Wait(time);
    }

    private static GuestCallBench Create(
        Func<ApplicationCall, TeeReturnCode> whenInvoked, TrustedApplicationManifest? manifest = null) =>
        new(manifest ?? SoftwareTeeBench.PerSession, call => new(whenInvoked(call)));
}
