using OpTeeMediator.Backends;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;

namespace OpTeeMediator.Tests.HostileGuest;

/// <summary>The attack: a guest dies, or starts again, at each point of a call. Nothing leaks, the backend is told
/// once, and another VM goes on.</summary>
/// <remarks>Of a forwarder's guest: <see cref="Forwarding.LifeCycleTests"/> and
/// <see cref="Forwarding.DriverRestartTests"/>. Of a companion's: <see cref="Companion.ReplacementTests"/>.</remarks>
[TestFixture(TeeExecution.Inline)]
[TestFixture(TeeExecution.Worker)]
[Parallelizable(ParallelScope.All)]
internal sealed class DeathTests(TeeExecution execution)
{
    private static readonly GuestRange Ram = new(GuestBench.RamStart, GuestBench.RamLength);

    [Test]
    public async Task DisposeAsync_AtAPoint_NothingIsLeftAndOthersGoOn([Values] DeathPoint point)
    {
        ScriptedBackend backend = new() { Execution = execution, MemoryExecution = execution };
        await using DyingCall other = new(DeathPoint.Preempted, backend);
        await other.ReachAsync();
        await using DyingCall dying = new(point, backend);
        await dying.ReachAsync();

        ValueTask disposal = dying.Bench.Guest.DisposeAsync();
        dying.End();
        await disposal;
        await dying.Vcpu;

        AssertNothingIsLeft(dying);
        Assert.That(backend.Disposals, Is.EqualTo(1), "The backend should be told once.");
        Assert.That(dying.Bench.Resume(dying.Call).X0, Is.EqualTo(SmcccReturn.NotSupported));
        AssertOtherGoesOn(other);
    }

    [Test]
    public async Task ResetAsync_AtAPoint_NothingIsLeftAndANewDriverAndOthersGoOn([Values] DeathPoint point)
    {
        ScriptedBackend backend = new() { Execution = execution, MemoryExecution = execution };
        await using DyingCall other = new(DeathPoint.Preempted, backend);
        await other.ReachAsync();
        await using DyingCall dying = new(point, backend);
        await dying.ReachAsync();

        Task reset = dying.Bench.Guest.ResetAsync();
        dying.End();
        await reset;
        await dying.Vcpu;

        AssertNothingIsLeft(dying);
        Assert.That(dying.Bench.Resume(dying.Call).X0, Is.EqualTo(OpTeeSmc.ReturnResume));
        await AssertNewDriverWorks(dying.Bench);
        Assert.That(backend.Disposals, Is.Zero);
        AssertOtherGoesOn(other);
    }

    private static void AssertNothingIsLeft(DyingCall dying)
    {
        ScriptedBackend backend = dying.Bench.Backend;
        Assert.That(() => dying.Bench.Guest.Status, Is.EqualTo(GuestBench.Nothing).After(10_000, 5));
        Assert.That(dying.Bench.Ram.TryDiscard(Ram), "No page should be pinned.");
        Assert.That((backend.OpenSessions, backend.RegisteredBuffers), Is.EqualTo((1, 1)), "What the other VM has.");
        Assert.That(dying.Bench.Loggers.EventIds, Has.None.EqualTo(1201), "No teardown should have failed.");
    }

    private static async Task AssertNewDriverWorks(GuestBench bench)
    {
        bench.Guest.Resume();
        bench.Backend.OnOpen = null;
        bench.Backend.OnClose = null;
        bench.Backend.OnUnregister = null;
        TaskCompletionSource end = new(TaskCreationOptions.RunContinuationsAsynchronously);
        bench.Backend.OnInvoke = async _ =>
        {
            await end.Task;
            return TeeResult.Success;
        };
        _ = bench.Driver.Call(OpTeeSmc.EnableAsyncNotification);
        uint session = bench.Open();
        _ = bench.Share(DyingCall.Cookie, 1);
        SmcRegisters sleeping = bench.Start(
            GuestBench.Invocation(session, 0, GuestParameter.RegisteredInOut(0, 1, DyingCall.Cookie))).Registers;
        while (sleeping.X0 == OpTeeSmc.ReturnRpcForeignInterrupt)
        {
            await Task.Delay(1);
            sleeping = bench.Resume(sleeping.X3);
        }

        end.SetResult();
        Assert.That(sleeping.X0, Is.EqualTo(OpTeeSmc.ReturnRpcCommand), "The new driver's calls sleep.");
        Assert.That(bench.Driver.Finish(bench.Resume(sleeping.X3)), Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(bench.Driver.Unregister(DyingCall.Cookie).ReturnCode, Is.Zero);
        Assert.That(bench.Driver.CloseSession(session).ReturnCode, Is.Zero);
    }

    /// <summary>The other VM's call is where it was, and ends as if nothing had happened.</summary>
    private static void AssertOtherGoesOn(DyingCall other)
    {
        Assert.That((other.Bench.Guest.Status.CallsInFlight, other.Bench.Guest.Status.Sessions,
            other.Bench.Guest.Status.Buffers), Is.EqualTo((1, 1, 1)));
        other.Bench.Backend.OnClose = null;
        other.Bench.Backend.OnUnregister = null;
        other.End();
        Assert.That(other.Bench.Finish(other.Call).ReturnCode, Is.Zero);
        Assert.That(other.Bench.Driver.Unregister(DyingCall.Cookie).ReturnCode, Is.Zero);
    }
}
