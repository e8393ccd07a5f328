using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.Arm64;
using OpTeeMediator.Kvm.State;
using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Tests.Rpc;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Companion;

/// <summary>A companion that is saved and goes on elsewhere.</summary>
internal sealed class CompanionStateTests
{
    private const ulong OpTeeThread = 3;

    private static readonly TimeSpan LongEnough = TimeSpan.FromSeconds(30);
    private static readonly GuestRange Ram = new(0x4000_0000, 1 << 20);
    private static readonly VmStateOptions State = new() { VmIdentity = Guid.NewGuid(), Key = new byte[32] };

    [Test]
    public async Task Save_CallSuspended_IsResumedOnceInTheRestoredOne()
    {
        await using CompanionBench bench = Start();
        foreach (FakeCpu cpu in bench.Vms[0].Fakes)
        {
            cpu.Answer = [OpTeeSmc.ReturnRpcForeignInterrupt, 0, 0, OpTeeThread];
        }

        SmcRegisters suspended = bench.Call(OpTeeSmc.CallWithArgument, 0, 0x1000);
        foreach (FakeCpu cpu in bench.Vms[0].Fakes)
        {
            cpu[Arm64Register.X(20)] = 0x2020;
        }

        byte[] state = await SaveAsync(bench);
        FakeVm vm = new(2);
        await using OpTeeCompanion restored = Restore(state, vm);
        uint whilePaused = Call(restored, OpTeeSmc.CallsUid, out SmcOutcome outcome, resumption: 0);
        int inFlight = restored.Status.CallsInFlight;
        restored.Resume();
        uint other = Call(restored, OpTeeSmc.ReturnFromRpc, out _, resumption: OpTeeThread + 1);
        int entries = vm.Fakes.Sum(cpu => cpu.Entries.Count);
        uint resumed = Call(restored, OpTeeSmc.ReturnFromRpc, out _, resumption: OpTeeThread);
        uint again = Call(restored, OpTeeSmc.ReturnFromRpc, out _, resumption: OpTeeThread);

        Assert.That((uint)suspended.X0, Is.EqualTo(OpTeeSmc.ReturnRpcForeignInterrupt));
        Assert.That(outcome.Kind, Is.EqualTo(SmcOutcomeKind.Retry), $"paused: {whilePaused}");
        Assert.That(inFlight, Is.EqualTo(1));
        Assert.That((other, entries), Is.EqualTo((OpTeeSmc.ReturnResume, 1)), "only the frequency was asked for");
        Assert.That((resumed, again), Is.EqualTo((OpTeeSmc.ReturnOk, OpTeeSmc.ReturnResume)));
        Assert.That(vm.HasImage, Is.False, "the image is part of the memory");
        Assert.That(vm.Fakes.Select(cpu => cpu[Arm64Register.X(20)]), Has.All.EqualTo(0x2020ul));
        Assert.That(vm.DeviceTree, Is.EqualTo(bench.Vms[0].DeviceTree));
    }

    [Test]
    public async Task Save_CoreThatIsOff_IsTurnedOnByTheFirstCallThatGetsIt()
    {
        await using CompanionBench bench = Start();
        byte[] state = await SaveAsync(bench);
        FakeVm vm = new(2);
        await using OpTeeCompanion restored = Restore(state, vm);
        restored.Resume();

        _ = Call(restored, OpTeeSmc.CallsCount, out _, resumption: 0);

        Assert.That(vm.Fakes[0].Entries, Does.Not.Contain(FakeCpu.Vectors + 8));
        Assert.That(vm.Fakes.Sum(cpu => cpu.Entries.Count(entry => entry == FakeCpu.Vectors + 4)), Is.EqualTo(1));
    }

    [Test]
    public async Task Save_InterruptDueInThePause_IsRaisedAfterResume()
    {
        CountingLine first = new();
        CountingLine second = new();
        await using CompanionBench bench = Start(first);
        Assert.That(await bench.Companion.PauseAsync());
        bench.Line!.Pulse();

        byte[] state = await SaveAsync(bench);
        await using OpTeeCompanion restored = Restore(state, new FakeVm(2), second);
        int whilePaused = second.Pulses;
        restored.Resume();

        Assert.That((first.Pulses, whilePaused, second.Pulses), Is.EqualTo((0, 0, 1)));
    }

    [Test]
    public async Task Save_TimerSet_IsServedAfterResume()
    {
        await using CompanionBench bench = Start();
        foreach (FakeCpu cpu in bench.Vms[0].Fakes)
        {
            cpu[Arm64Register.PhysicalTimerControl] = 1;
            cpu[Arm64Register.PhysicalTimerCompare] = 1;
        }

        byte[] state = await SaveAsync(bench);
        FakeVm vm = new(2);
        await using OpTeeCompanion restored = Restore(state, vm);
        long whilePaused = restored.CompanionStatus.Statistics.NativeInterrupts;
        restored.Resume();

        Assert.That(whilePaused, Is.Zero);
        Assert.That(
            SpinWait.SpinUntil(() => restored.CompanionStatus.Statistics.NativeInterrupts > 0, LongEnough));
    }

    [Test]
    public async Task Save_OpTeeHasFailed_AnotherOneAwaitsTheNextDriver()
    {
        await using CompanionBench bench = Start();
        using ManualResetEventSlim entered = new();
        using ManualResetEventSlim mayFail = new();
        foreach (FakeCpu cpu in bench.Vms[0].Fakes)
        {
            cpu.Program = _ =>
            {
                entered.Set();
                mayFail.Wait();
                return KvmExitReason.InternalError;
            };
        }

        Thread vcpu = new(() => bench.Call(OpTeeSmc.CallsCount));
        vcpu.Start();
        entered.Wait();
        Task<bool> pause = bench.Companion.PauseAsync();
        mayFail.Set();
        Assert.That(await pause);
        vcpu.Join();
        byte[] state = await SaveAsync(bench);
        FakeVm vm = new(2);
        await using OpTeeCompanion restored = Restore(state, vm);
        restored.Resume();

        uint refused = Call(restored, OpTeeSmc.CallsCount, out _, resumption: 0);
        _ = Call(restored, OpTeeSmc.CallsUid, out _, resumption: 0);
        uint served = Call(restored, OpTeeSmc.CallsCount, out _, resumption: 0);

        Assert.That(vm.HasImage);
        Assert.That((refused, served), Is.EqualTo((unchecked((uint)SmcccReturn.NotSupported), 0u)));
    }

    [Test]
    public async Task Save_VmNotPaused_IsRefused()
    {
        await using CompanionBench bench = Start();

        Assert.That(
            () => bench.Companion.SaveAsync(new MemoryStream(), State),
            Throws.InvalidOperationException.With.Message.Contain("Pause"));
    }

    [Test]
    public async Task Save_Twice_LeavesTheCompanionAsItWas()
    {
        await using CompanionBench bench = Start();
        _ = await SaveAsync(bench);
        _ = await SaveAsync(bench);
        bench.Companion.Resume();

        Assert.That(bench.Call(OpTeeSmc.CallsCount).X0, Is.Zero);
    }

    [Test]
    public async Task Restore_EachByteChangedOrCutThere_IsRefusedAndLeavesNothing([Values] bool isCut)
    {
        await using CompanionBench bench = Start();
        byte[] state = await SaveAsync(bench);
        for (int index = 0; index < state.Length; index += index is > 600 and < 4000 ? 37 : 1)
        {
            byte[] changed = isCut ? state[..index] : [.. state];
            if (!isCut)
            {
                changed[index] ^= 0x10;
            }

            FakeVm vm = new(2);
            bool isMade = false;

            Assert.That(
                () => Restore(changed, () =>
                {
                    isMade = true;
                    return vm;
                }),
                Throws.TypeOf<InvalidDataException>(), $"byte {index}");
            Assert.That(vm.IsDisposed, Is.EqualTo(isMade));
        }
    }

    [Test]
    public async Task Restore_IntoAnotherVm_IsRefused()
    {
        await using CompanionBench bench = Start();
        byte[] state = await SaveAsync(bench);
        OpTeeCompanionOptions options = CompanionBench.Options();

        foreach ((OpTeeCompanionOptions other, GuestRange ram) in ((OpTeeCompanionOptions, GuestRange)[])
            [
                (options with { Cores = 1 }, Ram), (options with { LogsConsole = true }, Ram),
                (options with { NotificationInterrupt = new CountingLine() }, Ram),
                (options with { Platform = options.Platform with { Uart = 0x0905_0000 } }, Ram),
                (options, new GuestRange(Ram.Start, Ram.Length * 2)),
                (options, new GuestRange(0x5000_0000, Ram.Length)),
            ])
        {
            Assert.That(
                () => OpTeeCompanion.Restore(
                    CompanionBench.Setup(other, _ => new FakeVm(2), ram), new MemoryStream(state), State,
                    arrival: null),
                Throws.TypeOf<InvalidDataException>().With.Message.Contain("a VM with other memory"));
        }

        Assert.That(
            () => OpTeeCompanion.Restore(
                CompanionBench.Setup(options, _ => new FakeVm(2), Ram), new MemoryStream(state),
                State with { VmIdentity = Guid.NewGuid() }, arrival: null),
            Throws.TypeOf<InvalidDataException>().With.Message.Contain("that of VM"));
        Assert.That(
            () => Restore(state, new FakeVm(1)),
            Throws.TypeOf<InvalidDataException>().With.Message.Contain("number of cores"));
    }

    private static CompanionBench Start(IInterruptLine? line = null) =>
        new(CompanionBench.Options() with { NotificationInterrupt = line }, guestMemory: Ram);

    private static OpTeeCompanion Restore(byte[] state, FakeVm vm, IInterruptLine? line = null) =>
        Restore(state, () => vm, line);

    private static OpTeeCompanion Restore(byte[] state, Func<FakeVm> make, IInterruptLine? line = null) =>
        OpTeeCompanion.Restore(
            CompanionBench.Setup(CompanionBench.Options() with { NotificationInterrupt = line }, _ => make(), Ram),
            new MemoryStream(state), State, arrival: null);

    private static async Task<byte[]> SaveAsync(CompanionBench bench)
    {
        Assert.That(await bench.Companion.PauseAsync());
        using MemoryStream state = new();
        await bench.Companion.SaveAsync(state, State);
        return state.ToArray();
    }

    private static uint Call(OpTeeCompanion companion, uint functionId, out SmcOutcome outcome, ulong resumption)
    {
        SmcRegisters registers = default;
        registers.X0 = functionId;
        registers.X3 = resumption;
        outcome = companion.Handle(ref registers, SmcRegisterSet.All);
        return (uint)registers.X0;
    }
}
