using OpTeeMediator.Backends;
using OpTeeMediator.Forwarding;
using OpTeeMediator.Guests;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Forwarding;
using OpTeeMediator.Tests.Guests;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.HostileGuest;

/// <summary>The attack: a guest takes all that it can get, of everything at once. Its neighbour gets its own.</summary>
/// <remarks>docs/trust-model.md names the test that reaches each single limit.</remarks>
[Parallelizable(ParallelScope.All)]
internal sealed class ExhaustionTests
{
    private const uint OutOfMemory = 0xffff_000c;

    private static readonly OpTeeLimits Limits =
        new() { Calls = 2, Sessions = 3, Buffers = 4, PagesPerBuffer = 128, Pages = 200 };

    [Test]
    public async Task EveryLimitOfAGuest_AtOnce_RefusesAndTheNeighbourHasItsOwn()
    {
        ScriptedBackend backend = new();
        TaskCompletionSource<TeeResult> end = new(TaskCreationOptions.RunContinuationsAsynchronously);
        backend.OnInvoke = _ => new ValueTask<TeeResult>(end.Task);
        OpTeeGuestOptions options = new() { Limits = Limits };
        await using GuestBench greedy = new(options, backend);
        await using GuestBench good = new(options, backend);
        uint[] sessions = [.. Enumerable.Range(0, Limits.Sessions).Select(_ => greedy.Open())];
        _ = greedy.Share(1, 128);
        _ = greedy.Share(2, 70);
        _ = greedy.Share(3, 1);
        _ = greedy.Share(4, 1);

        Assert.That(greedy.Driver.OpenSession(GuestBench.Application).ReturnCode, Is.EqualTo(OutOfMemory));
        Assert.That(greedy.Driver.Register(greedy.Driver.AllocatePages(1, 1), 0, 0x1000, 5).ReturnCode,
            Is.EqualTo(OutOfMemory));
        PendingCall[] calls = [greedy.StartInvoke(sessions[0]), greedy.StartInvoke(sessions[1])];
        Assert.That(greedy.Driver.TrySend(GuestBench.Invocation(sessions[2], 0)),
            Is.EqualTo(OpTeeSmc.ReturnThreadLimit));
        Assert.That(greedy.Guest.Status, Is.EqualTo(new OpTeeGuestStatus(2, 3, 4, 200)));

        uint own = good.Open();
        _ = good.Share(1, 128);
        PendingCall ownCall = good.StartInvoke(own, GuestParameter.RegisteredIn(0, 1, 1));
        end.SetResult(TeeResult.Success);
        Assert.That(good.Finish(ownCall).ReturnCode, Is.Zero);
        Assert.That(calls.Select(call => greedy.Finish(call).ReturnCode), Is.All.Zero);
        Assert.That((await greedy.DisposeGuestAsync(), await good.DisposeGuestAsync()),
            Is.EqualTo((GuestBench.Nothing, GuestBench.Nothing)));
    }

    [Test]
    public async Task CallsOfAForwardedGuest_BeyondItsLimit_AreRefusedWithoutOpTee()
    {
        ForwarderBench bench = new();
        ForwardedVm vm = bench.Create(options: new OpTeeForwarderOptions { Limits = Limits with { Calls = 1 } });
        bench.OpTee.InterruptsCalls = true;
        SmcRegisters first = vm.Start(FakeDriver.Opening(ForwarderBench.Application, default, 0), out _);
        int before = bench.OpTee.Calls.Count;

        SmcRegisters refused = vm.Start(FakeDriver.Opening(ForwarderBench.Application, default, 0), out _);

        Assert.That((refused.X0, bench.OpTee.Calls.Count), Is.EqualTo(((ulong)OpTeeSmc.ReturnThreadLimit, before)));
        Assert.That(vm.Resume(first.X3).X0, Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(vm.Driver.OpenSession(ForwarderBench.Application).ReturnCode, Is.Zero);
        await vm.Forwarder.DisposeAsync();
    }

    [Test]
    public async Task EveryLimitOfAForwardedGuest_AtOnce_RefusesAndTheNeighbourHasItsOwn()
    {
        ForwarderBench bench = new();
        OpTeeForwarderOptions options = new() { Limits = Limits };
        ForwardedVm greedy = bench.Create(0, options);
        ForwardedVm good = bench.Create(1, options);
        for (int session = 0; session < Limits.Sessions; session++)
        {
            _ = greedy.Open();
        }

        _ = greedy.Share(1, 128);
        _ = greedy.Share(2, 70);
        _ = greedy.Share(3, 1);
        _ = greedy.Share(4, 1);

        Assert.That(greedy.Driver.OpenSession(ForwarderBench.Application).ReturnCode, Is.EqualTo(OutOfMemory));
        Assert.That(greedy.Driver.Register(greedy.Driver.AllocatePages(1, 1), 0, 0x1000, 5).ReturnCode,
            Is.EqualTo(OutOfMemory));
        uint own = good.Open();
        _ = good.Share(1, 128);
        Assert.That(good.Driver.Invoke(own, 0, GuestParameter.RegisteredIn(0, 1, 1)).ReturnCode, Is.Zero);
        await greedy.Forwarder.DisposeAsync();
        await good.Forwarder.DisposeAsync();
        Assert.That((greedy.Memory.Pins, good.Memory.Pins), Is.EqualTo((0, 0)));
    }
}
