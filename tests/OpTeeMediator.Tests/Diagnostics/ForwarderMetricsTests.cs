using OpTeeMediator.Forwarding;
using OpTeeMediator.Messages;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Testing.Forwarding;
using OpTeeMediator.Tests.Forwarding;

namespace OpTeeMediator.Tests.Diagnostics;

/// <summary>What is measured of a guest whose calls are forwarded: the same as of one that is served.</summary>
internal sealed class ForwarderMetricsTests : ForwarderFixture
{
    private const string Invoke = "call=INVOKE_COMMAND";

    private VmMeasurements _measured = null!;
    private ForwardedVm _vm = null!;

    [SetUp]
    public void Listen()
    {
        string name = TestContext.CurrentContext.Test.ID;
        _measured = new VmMeasurements(name);
        _vm = Bench.Create(options: new OpTeeForwarderOptions { Name = name });
    }

    [TearDown]
    public void StopListening() => _measured.Dispose();

    [Test]
    public void Calls_Ended_AreCountedByCommandAndResult()
    {
        uint session = _vm.Open();
        _ = _vm.Share(ForwarderBench.Cookie, 2);
        _ = _vm.Driver.Invoke(session, 0);
        _ = _vm.Driver.Unregister(ForwarderBench.Cookie);
        _ = _vm.Driver.Unregister(ForwarderBench.Cookie);
        _ = _vm.Driver.CloseSession(session);

        string[] calls =
            [.. _measured.All.Where(one => one.Instrument == "opteemediator.calls").Select(one => one.Tags)];
        Assert.That(calls, Is.EqualTo(
        [
            "call=OPEN_SESSION result=Success", "call=REGISTER_SHM result=Success", $"{Invoke} result=Success",
            "call=UNREGISTER_SHM result=Success", "call=UNREGISTER_SHM result=BadParameters",
            "call=CLOSE_SESSION result=Success",
        ]));
        Assert.That(_measured.Count("opteemediator.call.duration", Invoke), Is.EqualTo(1));
        Assert.That(_measured.Sum("opteemediator.call.backend_time", Invoke)
            + _measured.Sum("opteemediator.call.mediation_time", Invoke),
            Is.GreaterThan(0).And.LessThanOrEqualTo(_measured.Sum("opteemediator.call.duration", Invoke) + 1e-9));
    }

    [Test]
    public void Times_OpTeeWorksThenAsksTheGuest_AddUpToTheDuration()
    {
        TimeSpan work = TimeSpan.FromMilliseconds(30);
        RpcServices services = new(_vm.Driver);
        _vm.Driver.OnRpc = message =>
        {
            Thread.Sleep(work);
            return services.Serve(message);
        };
        uint session = _vm.Open();
        Bench.OpTee.OnInvoke = thread =>
        {
            Thread.Sleep(work);
            return thread.Ask(OpTeeRpc.GetTime, GuestParameter.ValueOut());
        };

        _ = _vm.Driver.Invoke(session, 0);

        double duration = _measured.Sum("opteemediator.call.duration", Invoke);
        double backend = _measured.Sum("opteemediator.call.backend_time", Invoke);
        double mediation = _measured.Sum("opteemediator.call.mediation_time", Invoke);
        Assert.That(backend, Is.GreaterThanOrEqualTo(work.TotalSeconds * 0.9));
        Assert.That(duration - backend - mediation, Is.GreaterThanOrEqualTo(work.TotalSeconds * 0.9), "The guest's.");
        Assert.That(mediation, Is.GreaterThan(0).And.LessThan(duration - backend));
    }

    [Test]
    public void RpcsPreemptionsAndSleeps_AreCounted()
    {
        _vm.Driver.OnRpc = new RpcServices(_vm.Driver).Serve;
        uint session = _vm.Open();
        Bench.OpTee.OnInvoke = thread => thread.Ask(OpTeeRpc.GetTime, GuestParameter.ValueOut())
            .Append(RpcStep.ForeignInterrupt)
            .Append(RpcStep.ForeignInterrupt)
            .Concat(thread.Ask(OpTeeRpc.Notification, GuestParameter.ValueIn(OpTeeRpc.NotificationWait, 3)))
            .Concat(thread.Ask(OpTeeRpc.Notification, GuestParameter.ValueIn(OpTeeRpc.NotificationSend, 3)))
            .Concat(thread.Ask(0x7777));

        _ = _vm.Driver.Invoke(session, 0);

        Assert.That(_measured.Sum("opteemediator.preemptions"), Is.EqualTo(2));
        Assert.That(_measured.Sum("opteemediator.sleeps"), Is.EqualTo(1));
        Assert.That(_measured.Sum("opteemediator.rpcs", "command=GET_TIME"), Is.EqualTo(1));
        Assert.That(_measured.Sum("opteemediator.rpcs", "command=NOTIFICATION"), Is.EqualTo(1));
        Assert.That(_measured.Sum("opteemediator.rpcs", "command=OTHER"), Is.EqualTo(1));
        Assert.That(_measured.Sum("opteemediator.calls", $"{Invoke} result=Success"), Is.EqualTo(1));
    }

    [Test]
    public void Refusals_AreCountedByReason_AndEndNoCall()
    {
        _ = _vm.Driver.Unregister(ForwarderBench.Cookie);
        _ = _vm.Driver.Call(OpTeeSmc.ReturnFromRpc);
        _ = _vm.Driver.Call(OpTeeSmc.ExchangeCapabilities, 2);
        _ = _vm.Driver.Call(OpTeeSmc.CallWithArgument, 0, 8);

        string[] reasons =
        [
            RefusalReason.UnknownCookie, RefusalReason.UnknownResumeInformation, RefusalReason.UnknownCapability,
            RefusalReason.NoMessage,
        ];
        Assert.That(_measured.All.Where(one => one.Instrument == "opteemediator.refusals"),
            Is.EqualTo(reasons.Select(reason => new Measured("opteemediator.refusals", 1, $"reason={reason}"))));
        Assert.That(_measured.All.Count(one => one.Instrument == "opteemediator.calls"), Is.EqualTo(1));
    }

    // The driver that made the call gets no answer, and the forwarder's own calls are none of the guest's.
    [Test]
    public void Call_WhoseDriverStartsAgain_IsNotCounted()
    {
        uint session = _vm.Open();
        Bench.OpTee.OnInvoke = _ => [RpcStep.ForeignInterrupt, RpcStep.ForeignInterrupt];
        SmcRegisters suspended = _vm.Start(ForwardedVm.Invocation(session), out _);
        Assert.That(suspended.X0, Is.EqualTo(OpTeeSmc.ReturnRpcForeignInterrupt));

        _ = _vm.Driver.Call(OpTeeSmc.ExchangeCapabilities);
        Bench.OpTee.OnInvoke = null;
        uint next = _vm.Open();
        _ = _vm.Driver.Invoke(next, 0);

        Assert.That(_measured.Sum("opteemediator.calls", $"{Invoke} result=Success"), Is.EqualTo(1));
        Assert.That(_measured.All.Where(one => one.Instrument == "opteemediator.calls").Select(one => one.Tags),
            Has.None.Contains("CLOSE_SESSION"));
    }
}
