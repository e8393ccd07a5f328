using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;
using OpTeeMediator.Tests.Vmm;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.HostileGuest;

/// <summary>The attack: a guest uses what is another VM's.</summary>
/// <remarks>Through the forwarder: <see cref="Forwarding.HostileCookieTests"/>,
/// <see cref="Forwarding.HostileMessageTests"/>, <see cref="Forwarding.HostilePageListTests"/> and
/// <see cref="Forwarding.HostileResumeTests"/>.</remarks>
[Parallelizable(ParallelScope.All)]
internal sealed class CrossVmTests
{
    private const uint BadParameters = 0xffff_0006;
    private const ulong Cookie = 0xffff_0000_0938_5a80;

    [Test]
    public async Task TwoGuests_SessionsAndCookiesOfTheOther_AreUnknown()
    {
        ScriptedBackend backend = new();
        await using GuestBench first = new(backend: backend);
        await using GuestBench second = new(backend: backend);
        uint session = first.Open();
        uint later = first.Open();
        _ = first.Share(Cookie, 1);
        uint own = second.Open();

        Assert.That(second.Driver.Invoke(later, 0).ReturnCode, Is.EqualTo(BadParameters));
        Assert.That(second.Driver.CloseSession(later).ReturnCode, Is.EqualTo(BadParameters));
        Assert.That(second.Driver.Cancel(later, 0).ReturnCode, Is.EqualTo(BadParameters));
        Assert.That(second.Driver.Unregister(Cookie).ReturnCode, Is.EqualTo(BadParameters));
        Assert.That(second.Driver.Invoke(own, 0, GuestParameter.RegisteredIn(0, 1, Cookie)).ReturnCode,
            Is.EqualTo(BadParameters));
        Assert.That(own, Is.EqualTo(session), "Ids are per VM: they tell nothing of others.");
        Assert.That(second.Driver.CloseSession(own).ReturnCode, Is.Zero);
        Assert.That(first.Driver.Invoke(session, 0, GuestParameter.RegisteredIn(0, 1, Cookie)).ReturnCode, Is.Zero);
    }

    [Test]
    public async Task TwoGuests_OneCancels_OnlyItsOwnCallsAreCancelled()
    {
        ScriptedBackend backend = new();
        TaskCompletionSource<TeeResult> end = new(TaskCreationOptions.RunContinuationsAsynchronously);
        backend.OnInvoke = _ => new ValueTask<TeeResult>(end.Task);
        await using GuestBench first = new(backend: backend);
        await using GuestBench second = new(backend: backend);
        PendingCall call = first.StartInvoke(first.Open());

        _ = second.Driver.Cancel(second.Open(), 0);
        ulong stolen = second.Resume(call).X0;
        end.SetResult(TeeResult.Success);

        Assert.That((backend.Cancellations, stolen), Is.EqualTo((0, (ulong)OpTeeSmc.ReturnResume)));
        Assert.That(first.Finish(call).ReturnCode, Is.Zero);
    }

    [Test]
    public async Task TwoGuests_OneIsDisposedOf_TheOtherWorks()
    {
        ScriptedBackend backend = new();
        GuestBench first = new(backend: backend);
        await using GuestBench second = new(backend: backend);
        _ = first.Open();
        _ = first.Share(Cookie, 3);
        uint session = second.Open();
        _ = second.Share(Cookie, 1);

        await first.DisposeAsync();

        Assert.That((backend.Partitions, backend.Disposals, backend.OpenSessions, backend.RegisteredBuffers),
            Is.EqualTo((2, 1, 1, 1)));
        Assert.That(
            second.Driver.Invoke(session, 0, GuestParameter.RegisteredIn(0, 0x1000, Cookie)).ReturnCode, Is.Zero);
        Assert.That(second.Guest.Status, Is.EqualTo(new OpTeeGuestStatus(0, 1, 1, 1)));
    }

    [Test]
    public async Task TwoGuests_OneHasUsedItsBudget_TheOtherHasItsOwn()
    {
        ScriptedBackend backend = new();
        OpTeeGuestOptions options = new() { Limits = new OpTeeLimits { Buffers = 1, Sessions = 1 } };
        await using GuestBench first = new(options, backend);
        await using GuestBench second = new(options, backend);
        _ = first.Open();
        _ = first.Share(Cookie, 1);

        Assert.That(second.Open(), Is.Not.Zero);
        Assert.That(second.Share(Cookie, 1), Has.Length.EqualTo(1));
    }

    [Test]
    public async Task TwoCompanions_ResumptionOfTheOther_IsRefusedWithoutItsOpTee()
    {
        await using OpTeeBench first = OpTeeBench.Create(HandlerKind.Companion);
        await using OpTeeBench second = OpTeeBench.Create(HandlerKind.Companion);
        first.Suspends = true;
        SmcRegisters call = first.NewCall();
        SmcRegisters resumption = OpTeeBench.Next(first.Make(ref call), call);
        SmcRegisters stolen = resumption;

        _ = second.Make(ref stolen);

        Assert.That((stolen.X0, second.Entries), Is.EqualTo(((ulong)OpTeeSmc.ReturnResume, 0)));
        Assert.That(first.Finish(resumption), Is.EqualTo(OpTeeSmc.ReturnOk));
    }
}
