using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.Arm64;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Tests.Vmm;

namespace OpTeeMediator.Tests.Companion;

/// <summary>What a companion does by itself, while its VM is paused: nothing.</summary>
internal sealed class PauseTests
{
    private static readonly TimeSpan LongEnough = TimeSpan.FromSeconds(30);

    private CompanionContractBench _bench = null!;

    [SetUp]
    public void SetUp() => _bench = new CompanionContractBench();

    [TearDown]
    public async Task TearDown() => await _bench.DisposeAsync();

    [Test]
    public async Task Timer_DueWhileVmIsPaused_IsServedAfterResume()
    {
        ChangePrograms(program => cpu =>
        {
            KvmExitReason exit = program(cpu);
            bool isInterrupt = cpu[Arm64Register.Pc] == FakeCpu.Vectors + 24;
            cpu[Arm64Register.PhysicalTimerControl] = isInterrupt ? 0ul : 1;
            cpu[Arm64Register.PhysicalTimerCompare] = 1;
            return exit;
        });
        using BlockedCall call = new(_bench);

        Task<bool> pause = _bench.OpTee.PauseAsync();
        call.Release();
        bool isPaused = await pause;
        HoldCalls();
        long whilePaused = NativeInterrupts;
        _bench.OpTee.Resume();

        Assert.That((isPaused, whilePaused), Is.EqualTo((true, 0L)));
        Assert.That(SpinWait.SpinUntil(() => NativeInterrupts > 0, LongEnough));
        Assert.That(await call.Answer, Is.EqualTo(OpTeeSmc.ReturnOk));
    }

    [Test]
    public async Task Failure_WhileVmIsPaused_AnotherOneStartsAfterResume()
    {
        ChangePrograms(program => cpu =>
        {
            KvmExitReason exit = program(cpu);
            return cpu[Arm64Register.Pc] == FakeCpu.Vectors ? KvmExitReason.InternalError : exit;
        });
        using BlockedCall call = new(_bench);

        Task<bool> pause = _bench.OpTee.PauseAsync();
        call.Release();
        bool isPaused = await pause;
        uint refused = await call.Answer;
        HoldCalls();
        int startsWhilePaused = _bench.Bench.Companion.CompanionStatus.Starts;
        _bench.OpTee.Resume();
        ulong first = _bench.Bench.Call(OpTeeSmc.CallsUid).X0;

        Assert.That(
            (isPaused, refused, startsWhilePaused), Is.EqualTo((true, unchecked((uint)SmcccReturn.NotSupported), 1)));
        Assert.That(first, Is.Zero, "A driver that begins waits for the start.");
        Assert.That(_bench.Bench.Companion.CompanionStatus.Starts, Is.EqualTo(2));
    }

    [Test]
    public async Task ResetAsync_VmPausedAfterAFailure_ServesAfterResume()
    {
        ChangePrograms(_ => _ => KvmExitReason.InternalError);
        _ = _bench.Finish(_bench.NewCall());
        bool isPaused = await _bench.OpTee.PauseAsync();

        await _bench.OpTee.ResetAsync();
        _bench.OpTee.Resume();

        Assert.That(isPaused);
        Assert.That(_bench.Bench.Call(OpTeeSmc.CallsUid).X0, Is.Zero);
        Assert.That(_bench.Finish(_bench.NewCall()), Is.EqualTo(OpTeeSmc.ReturnOk));
    }

    private long NativeInterrupts => _bench.Bench.Companion.CompanionStatus.Statistics.NativeInterrupts;

    /// <summary>Makes calls that are held for a quantum each.</summary>
    private void HoldCalls()
    {
        for (int round = 0; round < 10; round++)
        {
            SmcRegisters registers = _bench.NewCall();
            Assert.That(_bench.Make(ref registers), Is.EqualTo(SmcOutcome.Retry));
        }
    }

    private void ChangePrograms(Func<Func<FakeCpu, KvmExitReason>, Func<FakeCpu, KvmExitReason>> change)
    {
        foreach (FakeCpu cpu in _bench.Bench.Vms[0].Fakes)
        {
            cpu.Program = change(cpu.Program);
        }
    }
}
