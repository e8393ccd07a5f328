using System.Diagnostics;
using System.Diagnostics.Metrics;
using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Messages;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;
using OpTeeMediator.Tests.Rpc;

namespace OpTeeMediator.Tests.Diagnostics;

/// <summary>What is measured of a guest's calls, as a listener sees it.</summary>
internal sealed class MetricsTests
{
    private const ulong Cookie = 0xffff_0000_0938_5a80;
    private const string Invoke = "call=INVOKE_COMMAND";

    private string _vm = null!;
    private VmMeasurements _measured = null!;

    [SetUp]
    public void Listen()
    {
        _vm = TestContext.CurrentContext.Test.ID;
        _measured = new VmMeasurements(_vm);
    }

    [TearDown]
    public void StopListening() => _measured.Dispose();

    [Test]
    public async Task Calls_Ended_AreCountedByCommandAndResult()
    {
        await using GuestBench bench = Create();
        uint session = bench.Open();
        _ = bench.Share(Cookie, 2);
        _ = bench.Driver.Invoke(session, 0);
        bench.Backend.OnInvoke = _ => new(TeeResult.FromTee(TeeReturnCode.Busy));
        _ = bench.Driver.Invoke(session, 0);
        bench.Backend.OnInvoke = _ => new(TeeResult.FromTee((TeeReturnCode)0x1234_5678));
        _ = bench.Driver.Invoke(session, 0);
        _ = bench.Driver.Unregister(Cookie);
        _ = bench.Driver.CloseSession(session);

        Assert.That(_measured.All.Where(one => one.Instrument == "opteemediator.calls"), Is.EqualTo(new Measured[]
        {
            new("opteemediator.calls", 1, "call=OPEN_SESSION result=Success"),
            new("opteemediator.calls", 1, "call=REGISTER_SHM result=Success"),
            new("opteemediator.calls", 1, "call=INVOKE_COMMAND result=Success"),
            new("opteemediator.calls", 1, "call=INVOKE_COMMAND result=Busy"),
            new("opteemediator.calls", 1, "call=INVOKE_COMMAND result=OTHER"),
            new("opteemediator.calls", 1, "call=UNREGISTER_SHM result=Success"),
            new("opteemediator.calls", 1, "call=CLOSE_SESSION result=Success"),
        }));
        Assert.That(_measured.Count("opteemediator.call.duration", Invoke), Is.EqualTo(3));
        Assert.That(_measured.Count("opteemediator.call.backend_time", Invoke), Is.EqualTo(3));
        Assert.That(_measured.Count("opteemediator.call.mediation_time", Invoke), Is.EqualTo(3));
    }

    [TestCase(TeeExecution.Inline)]
    [TestCase(TeeExecution.Worker)]
    public async Task Times_BackendWorksThenAsksTheGuest_AddUpToTheDuration(TeeExecution execution)
    {
        TimeSpan work = TimeSpan.FromMilliseconds(30);
        await using GuestBench bench = Create(new ScriptedBackend { Execution = execution });
        RpcServices services = new(bench.Driver);
        bench.Driver.OnRpc = message =>
        {
            Thread.Sleep(work);
            return services.Serve(message);
        };
        uint session = bench.Open();
        bench.Backend.OnInvoke = async request =>
        {
            Thread.Sleep(work);
            _ = await request.Guest!.GetTimeAsync();
            return TeeResult.Success;
        };

        _ = bench.Driver.Invoke(session, 0);

        double duration = _measured.Sum("opteemediator.call.duration", Invoke);
        double backend = _measured.Sum("opteemediator.call.backend_time", Invoke);
        double mediation = _measured.Sum("opteemediator.call.mediation_time", Invoke);
        Assert.That(backend, Is.GreaterThanOrEqualTo(work.TotalSeconds * 0.9));
        Assert.That(duration - backend - mediation, Is.GreaterThanOrEqualTo(work.TotalSeconds * 0.9), "The guest's.");
        Assert.That(mediation, Is.GreaterThan(0).And.LessThan(duration - backend));
    }

    [Test]
    public async Task Rpcs_OfABackend_AreCountedByCommand()
    {
        await using GuestBench bench = Create();
        bench.Driver.OnRpc = new RpcServices(bench.Driver).Serve;
        uint session = bench.Open();
        bench.Backend.OnInvoke = async request =>
        {
            _ = await request.Guest!.GetTimeAsync();
            _ = await request.Guest.GetTimeAsync();
            _ = await request.Guest.AllocateAsync(GuestMemoryKind.Supplicant, 100);
            _ = await request.Guest.CallAsync(0x7777);
            return TeeResult.Success;
        };

        _ = bench.Driver.Invoke(session, 0);

        Assert.That(_measured.Sum("opteemediator.rpcs", "command=GET_TIME"), Is.EqualTo(2));
        Assert.That(_measured.Sum("opteemediator.rpcs", "command=SHM_ALLOC"), Is.EqualTo(1));
        Assert.That(_measured.Sum("opteemediator.rpcs", "command=OTHER"), Is.EqualTo(1));
    }

    [Test]
    public async Task Preemptions_AreCounted()
    {
        TaskCompletionSource<TeeResult> end = new();
        await using GuestBench bench = Create();
        uint session = bench.Open();
        bench.Backend.OnInvoke = _ => new(end.Task);

        PendingCall call = bench.StartInvoke(session);
        call = call with { Registers = bench.Resume(call) };
        end.SetResult(TeeResult.Success);
        _ = bench.Finish(call);

        Assert.That(_measured.Sum("opteemediator.preemptions"), Is.EqualTo(2));
        Assert.That(_measured.Sum("opteemediator.calls", $"{Invoke} result=Success"), Is.EqualTo(1));
    }

    [Test]
    public async Task Sleeps_AreCounted()
    {
        TaskCompletionSource<TeeResult> end = new();
        await using GuestBench bench = new(new OpTeeGuestOptions
        {
            Name = _vm,
            NotificationInterrupt = new CountingLine(),
            Quantum = TimeSpan.FromMilliseconds(5),
            SleepAfter = TimeSpan.FromMilliseconds(1),
        });
        uint session = bench.Open();
        _ = bench.Driver.Call(OpTeeSmc.EnableAsyncNotification);
        bench.Backend.OnInvoke = _ => new(end.Task);
        bench.Driver.OnRpc = message =>
        {
            end.SetResult(TeeResult.Success);
            return message with { ReturnCode = 0 };
        };

        _ = bench.Driver.Invoke(session, 0);

        Assert.That(_measured.Sum("opteemediator.sleeps"), Is.EqualTo(1));
        Assert.That(_measured.All.Select(one => one.Instrument), Has.None.EqualTo("opteemediator.rpcs"));
    }

    [Test]
    public async Task Refusals_AreCountedByReason()
    {
        await using GuestBench bench = new(
            new OpTeeGuestOptions { Name = _vm, Access = TeeAccess.Only([GuestBench.Application]) });
        _ = bench.Share(Cookie, 1);

        _ = bench.Driver.Invoke(77, 0);
        _ = bench.Driver.OpenSession(Guid.NewGuid());
        _ = bench.Driver.Register([bench.Driver.AllocatePage()], 0, 0x1000, Cookie);
        _ = bench.Driver.Register([0x1000], 0, 0x1000, Cookie + 1);
        _ = bench.Driver.Call(OpTeeSmc.ReturnFromRpc);
        _ = bench.Driver.Call(OpTeeSmc.ExchangeCapabilities, 2);

        string[] reasons =
        [
            RefusalReason.UnknownSession, RefusalReason.ApplicationNotAllowed, RefusalReason.CookieTaken,
            RefusalReason.UnusableMemory, RefusalReason.UnknownResumeInformation, RefusalReason.UnknownCapability,
        ];
        Assert.That(_measured.All.Where(one => one.Instrument == "opteemediator.refusals"),
            Is.EqualTo(reasons.Select(reason => new Measured("opteemediator.refusals", 1, $"reason={reason}"))));
    }

    [Test]
    public async Task Gauges_SayWhatTheGuestHolds_UntilItIsGone()
    {
        await using (GuestBench bench = Create())
        {
            _ = bench.Open();
            _ = bench.Share(Cookie, 3);
            TaskCompletionSource<TeeResult> end = new();
            bench.Backend.OnInvoke = _ => new(end.Task);
            PendingCall call = bench.StartInvoke(bench.Open());

            Assert.That(_measured.Observe("opteemediator.calls_in_flight"), Is.EqualTo(1));
            Assert.That(_measured.Observe("opteemediator.sessions"), Is.EqualTo(2));
            Assert.That(_measured.Observe("opteemediator.shared_buffers"), Is.EqualTo(1));
            Assert.That(_measured.Observe("opteemediator.shared_pages"), Is.EqualTo(3));
            end.SetResult(TeeResult.Success);
            _ = bench.Finish(call);
        }

        Assert.That(_measured.Observe("opteemediator.sessions"), Is.Null);
    }

    [Test]
    public async Task Listener_Throws_GuestIsServed()
    {
        using MeterListener failing = new();
        failing.InstrumentPublished = (instrument, listener) =>
        {
            if (instrument.Meter.Name == OpTeeMetrics.MeterName)
            {
                listener.EnableMeasurementEvents(instrument);
            }
        };
        failing.SetMeasurementEventCallback<long>((_, _, tags, _) => ThrowIfOurs(tags));
        failing.SetMeasurementEventCallback<double>((_, _, tags, _) => ThrowIfOurs(tags));
        failing.Start();
        await using GuestBench bench = Create();
        TaskCompletionSource<TeeResult> end = new();
        uint session = bench.Open();
        bench.Backend.OnInvoke = _ => new(end.Task);

        PendingCall call = bench.StartInvoke(session);
        end.SetResult(TeeResult.Success);
        GuestMessage answer = bench.Finish(call);

        Assert.That(answer.ReturnCode, Is.Zero);
        Assert.That(bench.Driver.Invoke(99, 0).ReturnCode, Is.EqualTo((uint)TeeReturnCode.BadParameters));
        Assert.That(bench.Loggers.EventIds, Has.None.EqualTo(1101));
        Assert.That(bench.Guest.Status.CallsInFlight, Is.Zero);

        void ThrowIfOurs(ReadOnlySpan<KeyValuePair<string, object?>> tags)
        {
            if (tags[0].Value is string vm && vm == _vm)
            {
                throw new UnreachableException("A fault of the listener.");
            }
        }
    }

    // A listener that keeps nothing: what is left is the core's own.
    [Test]
    public async Task Calls_SomebodyListens_AllocateNothing()
    {
        _measured.Dispose();
        long heard = 0;
        using MeterListener listener = new();
        listener.InstrumentPublished = (instrument, listener) =>
        {
            if (instrument.Meter.Name == OpTeeMetrics.MeterName)
            {
                listener.EnableMeasurementEvents(instrument);
            }
        };
        listener.SetMeasurementEventCallback<long>((_, _, _, _) => heard++);
        listener.SetMeasurementEventCallback<double>((_, _, _, _) => heard++);
        listener.Start();
        GuestRange ram = new(GuestBench.RamStart, 1 << 20);
        using MemfdGuestMemory memory = MemfdGuestMemory.Create(ram);
        await using OpTeeGuest guest = new(memory, new ScriptedBackend());
        FakeDriver driver = new(guest, memory, ram);
        ulong page = driver.MessagePage;
        driver.WriteMessage(page, GuestBench.Invocation(driver.OpenSession(GuestBench.Application).Session, 0));
        ulong[] calls = [OpTeeSmc.CallWithRpcArgument, page >> 32, page, OpTeeSmc.CallWithArgument, 0, 8];

        _ = SmcAllocations.Measure(guest, calls, 0);
        long allocated = SmcAllocations.Measure(guest, calls, 0);

        Assert.That(heard, Is.GreaterThanOrEqualTo(1000));
        Assert.That(allocated, Is.Zero);
    }

    private GuestBench Create(ScriptedBackend? backend = null) =>
        new(new OpTeeGuestOptions { Name = _vm }, backend);
}
