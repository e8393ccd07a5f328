using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Forwarding;
using OpTeeMediator.Tests.Guests;
using OpTeeMediator.Tests.Vmm;

namespace OpTeeMediator.Tests.HostileGuest;

/// <summary>The attack: identifiers that the guest was not given. Each that differs in one bit is tried.</summary>
/// <remarks>Stale and doubled resumptions: <see cref="Calls.PreemptionTests"/>,
/// <see cref="Forwarding.HostileResumeTests"/>, <see cref="Companion.SuspendedCallsTests"/>. Answers to RPCs:
/// <see cref="Rpc.RpcTests"/>, <see cref="Forwarding.HostileRpcTests"/>. What an earlier driver had:
/// <see cref="Guests.DriverRestartTests"/>, <see cref="Forwarding.DriverRestartTests"/>. Behind a companion sessions
/// and cookies are its OP-TEE's.</remarks>
[Parallelizable(ParallelScope.All)]
internal sealed class ForgeryTests
{
    private const uint BadParameters = 0xffff_0006;
    private const ulong Cookie = 0xffff_0000_0938_5a80;

    [Test]
    public async Task Resumption_EachBitFlipped_IsRefusedWithoutTheTeeAndTheCallGoesOn([Values] HandlerKind kind)
    {
        await using OpTeeBench bench = OpTeeBench.Create(kind);
        bench.Suspends = true;
        SmcRegisters call = bench.NewCall();
        SmcRegisters resumption = OpTeeBench.Next(bench.Make(ref call), call);
        int entries = bench.Entries;

        for (int bit = 0; bit < 32; bit++)
        {
            SmcRegisters forged = resumption;
            forged.X3 ^= 1ul << bit;
            _ = bench.Make(ref forged);
            Assert.That(forged.X0, Is.EqualTo(OpTeeSmc.ReturnResume), $"bit {bit}");
        }

        Assert.That(bench.Entries, Is.EqualTo(entries));
        Assert.That(bench.Finish(resumption), Is.EqualTo(OpTeeSmc.ReturnOk));
    }

    [Test]
    public async Task Session_EachBitFlipped_IsUnknownAndTheSessionStays(
        [Values(HandlerKind.Guest, HandlerKind.Forwarder)] HandlerKind kind)
    {
        await using GuestBench guest = new();
        ForwardedVm forwarded = new ForwarderBench().Create();
        FakeDriver driver = kind == HandlerKind.Guest ? guest.Driver : forwarded.Driver;
        uint session = driver.OpenSession(GuestBench.Application).Session;

        for (int bit = 0; bit < 32; bit++)
        {
            uint forged = session ^ (1u << bit);
            Assert.That(driver.Invoke(forged, 0).ReturnCode, Is.EqualTo(BadParameters), $"invoke, bit {bit}");
            Assert.That(driver.CloseSession(forged).ReturnCode, Is.EqualTo(BadParameters), $"close, bit {bit}");
        }

        Assert.That(driver.Invoke(session, 0).ReturnCode, Is.Zero);
        await forwarded.Forwarder.DisposeAsync();
    }

    [Test]
    public async Task Cookie_EachBitFlipped_IsUnknownAndTheBufferStays(
        [Values(HandlerKind.Guest, HandlerKind.Forwarder)] HandlerKind kind)
    {
        await using GuestBench guest = new();
        ForwardedVm forwarded = new ForwarderBench().Create();
        FakeDriver driver = kind == HandlerKind.Guest ? guest.Driver : forwarded.Driver;
        uint session = driver.OpenSession(GuestBench.Application).Session;
        Assert.That(driver.Register(driver.AllocatePages(1, 1), 0, 0x1000, Cookie).ReturnCode, Is.Zero);

        for (int bit = 0; bit < 64; bit++)
        {
            ulong forged = Cookie ^ (1ul << bit);
            Assert.That(driver.Invoke(session, 0, GuestParameter.RegisteredIn(0, 1, forged)).ReturnCode,
                Is.EqualTo(BadParameters), $"reference, bit {bit}");
            Assert.That(driver.Unregister(forged).ReturnCode, Is.EqualTo(BadParameters), $"unregistration, bit {bit}");
            Assert.That(driver.Call(OpTeeSmc.CallWithRegisteredArgument, forged >> 32, (uint)forged, 0).X0,
                Is.EqualTo(OpTeeSmc.ReturnBadAddress), $"message, bit {bit}");
        }

        Assert.That(driver.Invoke(session, 0, GuestParameter.RegisteredIn(0, 1, Cookie)).ReturnCode, Is.Zero);
        await forwarded.Forwarder.DisposeAsync();
    }
}
