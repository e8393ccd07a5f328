using Microsoft.Extensions.Logging.Abstractions;
using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.Arm64;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Tests.Companion;

/// <summary>An OP-TEE that fails, and the one that replaces it.</summary>
[TestFixture]
internal sealed class ReplacementTests
{
    private static readonly TimeSpan LongEnough = TimeSpan.FromSeconds(30);

    private CompanionBench _bench = null!;

    [SetUp]
    public void SetUp() => _bench = new CompanionBench();

    [TearDown]
    public async Task TearDown() => await _bench.DisposeAsync();

    [Test]
    public void Call_OpTeeDoesNotAnswer_IsRefusedAndAnotherOneStarts()
    {
        Kill();

        Assert.That(SpinWait.SpinUntil(() => _bench.Companion.CompanionStatus.Starts == 2, LongEnough), Is.True);
        Assert.That(_bench.Vms[0].IsDisposed, Is.True);
        Assert.That(() => _bench.Log.EventIds, Does.Contain(2301).And.Contain(2302).After(30_000, 10));
        Assert.That(_bench.Log.Messages, Is.All.Contains("guest"), "each entry names the VM");
    }

    [Test]
    public void Call_OfTheOldDriver_NeverReachesTheNewOne()
    {
        Kill();
        Assert.That(SpinWait.SpinUntil(() => _bench.Companion.CompanionStatus.Starts == 2, LongEnough), Is.True);

        Assert.That(_bench.Call(OpTeeSmc.ReturnFromRpc, 0, 0, 1).X0, Is.EqualTo(SmcccReturn.NotSupported));
        Assert.That(_bench.Call(OpTeeSmc.CallWithArgument, 0, 0x1000).X0, Is.EqualTo(SmcccReturn.NotSupported));
        Assert.That(_bench.Call(OpTeeSmc.GetAsyncNotificationValue).X0, Is.EqualTo(SmcccReturn.NotSupported));
        Assert.That(_bench.Call(OpTeeSmc.DisableShmCache).X0, Is.EqualTo(OpTeeSmc.ReturnNotAvailable),
            "Linux asks until it hears that");
        Assert.That(_bench.Companion.CompanionStatus.IsAlive, Is.False);
        Assert.That(_bench.Companion.CompanionStatus.Statistics.YieldingCalls, Is.Zero);
    }

    [TestCase(OpTeeSmc.CallsUid)]
    [TestCase(OpTeeSmc.ExchangeCapabilities)]
    public void Call_OfANewDriver_IsServedByTheNewOne(uint first)
    {
        Kill();

        Assert.That(_bench.Call(first).X0, Is.Zero, "it waits for the start");
        Assert.That(_bench.Call(OpTeeSmc.CallWithArgument).X0, Is.Zero);
        Assert.That(_bench.Companion.CompanionStatus.IsAlive, Is.True);
    }

    [Test]
    public void Call_OfANewDriverWithoutItsRegisters_ChangesNothing()
    {
        Kill();
        Assert.That(SpinWait.SpinUntil(() => _bench.Companion.CompanionStatus.Starts == 2, LongEnough), Is.True);
        SmcRegisters registers = default;
        registers.X0 = OpTeeSmc.ExchangeCapabilities;
        SmcOutcome outcome;
        do
        {
            outcome = _bench.Companion.Handle(ref registers, SmcRegisterSet.X0);
        }
        while (outcome.Kind == SmcOutcomeKind.Retry);

        Assert.That(outcome.Kind, Is.EqualTo(SmcOutcomeKind.NeedsRegisters));
        Assert.That(_bench.Companion.CompanionStatus.IsAlive, Is.False, "it still waits for a driver");
        Assert.That(_bench.Call(OpTeeSmc.CallWithArgument).X0, Is.EqualTo(SmcccReturn.NotSupported));
    }

    [Test]
    public void Failure_WhileBothCoresAreInCalls_EndsBoth()
    {
        foreach (FakeCpu cpu in _bench.Vms[0].Fakes)
        {
            cpu.Program = FakeCpu.Hang;
        }

        ulong other = 0;
        Thread thread = new(() => other = _bench.Call(OpTeeSmc.CallWithArgument).X0);
        thread.Start();
        ulong own = _bench.Call(OpTeeSmc.CallWithArgument).X0;

        Assert.That(thread.Join(LongEnough), Is.True);
        Assert.That((own, other), Is.EqualTo((SmcccReturn.NotSupported, SmcccReturn.NotSupported)));
    }

    [Test]
    public void Failure_WhileCallsWaitForACore_EndsThemToo()
    {
        foreach (FakeCpu cpu in _bench.Vms[0].Fakes)
        {
            cpu.Program = FakeCpu.Hang;
        }

        Thread[] threads =
            [.. Enumerable.Range(0, 5).Select(_ => new Thread(() => _bench.Call(OpTeeSmc.CallWithArgument)))];
        Array.ForEach(threads, thread => thread.Start());

        Assert.That(threads.All(thread => thread.Join(LongEnough)), Is.True);
    }

    [Test]
    public void Call_UnexpectedExit_IsRefusedAtOnce()
    {
        _bench[1].Program = _ => KvmExitReason.InternalError;

        Assert.That(_bench.Call(OpTeeSmc.CallsUid).X0, Is.EqualTo(SmcccReturn.NotSupported));
        Assert.That(_bench.Log.Messages, Has.Some.Contains("InternalError"));
    }

    [Test]
    public void Call_UnexpectedSmc_IsRefusedAtOnce()
    {
        _bench[1].Program = cpu =>
            cpu[Arm64Register.Pc] == FakeCpu.Vectors + 8 ? FakeCpu.Serve(cpu) : cpu.Call(0xbe00_0007);

        Assert.That(_bench.Call(OpTeeSmc.CallsUid).X0, Is.EqualTo(SmcccReturn.NotSupported));
        Assert.That(_bench.Log.Messages, Has.Some.Contains("0xbe000007"));
    }

    [Test]
    public void Call_KvmThrows_IsRefusedAndLogged()
    {
        _bench[1].Program = _ => throw new SystemCallException("KVM_RUN is broken.");

        Assert.That(_bench.Call(OpTeeSmc.CallsUid).X0, Is.EqualTo(SmcccReturn.NotSupported));
        Assert.That(_bench.Log.EventIds, Does.Contain(2306));
        Assert.That(_bench.Call(OpTeeSmc.CallsUid).X0, Is.Zero, "the next one serves");
    }

    [Test]
    public void Call_KvmAndTheLoggerThrow_IsRefusedAndAnotherOneStarts()
    {
        _bench[1].Program = _ => throw new SystemCallException("KVM_RUN is broken.");
        ThrowOnceFromTheLogger();

        Assert.That(_bench.Call(OpTeeSmc.CallsUid).X0, Is.EqualTo(SmcccReturn.NotSupported));
        Assert.That(_bench.Call(OpTeeSmc.CallsUid).X0, Is.Zero, "the next one serves");
    }

    [Test]
    public void Failure_AndTheLoggerThrows_AnotherOneStarts()
    {
        ThrowOnceFromTheLogger();

        Kill();

        Assert.That(_bench.Call(OpTeeSmc.CallsUid).X0, Is.Zero, "the next one serves");
    }

    [Test]
    public void Timer_AndKvmThrows_AnotherOneStarts()
    {
        _bench[1].Program = cpu =>
        {
            cpu[Arm64Register.PhysicalTimerControl] = 1;
            cpu[Arm64Register.PhysicalTimerCompare] = cpu[Arm64Register.PhysicalCounter] + 20_000;
            return cpu[Arm64Register.Pc] == FakeCpu.Vectors + 24 ? throw new SystemCallException("KVM_RUN is broken.")
                : FakeCpu.Serve(cpu);
        };

        _ = _bench.Call(OpTeeSmc.CallsUid);

        Assert.That(SpinWait.SpinUntil(() => _bench.Companion.CompanionStatus.Starts == 2, LongEnough), Is.True);
    }

    [Test]
    public void Timer_InCenturies_IsNeverDue()
    {
        FakeVm vm = new(1);
        vm.Fakes[0][Arm64Register.PhysicalTimerControl] = 1;
        vm.Fakes[0][Arm64Register.PhysicalTimerCompare] = 100_000_000_000_000_000;
        using CompanionTee tee =
            new(vm, TimeSpan.FromMilliseconds(4), new NoSupervisor(), "test", NullLogger.Instance, new LogRateLimit());

        _ = tee.Start(0, 0);

        Assert.That(tee.Cores[0].TimerDue, Is.EqualTo(long.MaxValue));
    }

    [Test]
    public void Start_AbortedAsItAnswers_DoesNotCountAsStarted()
    {
        FakeVm vm = new(1);
        using CompanionTee tee =
            new(vm, TimeSpan.FromMilliseconds(4), new NoSupervisor(), "test", NullLogger.Instance, new LogRateLimit());
        vm.Fakes[0].Program = cpu =>
        {
            tee.Fail(new TeeFailure(0, TeeFailureCause.NoAnswer, 0, 0));
            return FakeCpu.Serve(cpu);
        };

        Assert.That(() => tee.Start(0, 0), Throws.InstanceOf<TeeUnavailableException>()
            .With.Message.Contains("does not answer in time"));
        Assert.That(tee.HasStarted, Is.False);
    }

    [Test]
    public async Task Failure_AndNoOtherStarts_IsLoggedUntilAReset()
    {
        await using CompanionBench bench =
            new(make: number => number == 1 ? throw new SystemCallException("no memory") : new FakeVm(1));
        bench[0].Program = FakeCpu.Hang;
        _ = bench.Call(OpTeeSmc.CallWithArgument);

        Assert.That(bench.Call(OpTeeSmc.CallsUid).X0, Is.EqualTo(SmcccReturn.NotSupported));
        Assert.That(bench.Log.EventIds, Does.Contain(2303));
        await bench.Companion.ResetAsync();
        Assert.That(bench.Call(OpTeeSmc.CallsUid).X0, Is.Zero);
    }

    [Test]
    public async Task Reset_WhileServing_StartsAnotherOneThatServesAtOnce()
    {
        await _bench.Companion.ResetAsync();

        Assert.That((_bench.Vms[0].IsDisposed, _bench.Vms[1].IsDisposed), Is.EqualTo((true, false)));
        Assert.That(_bench.Call(OpTeeSmc.CallWithArgument).X0, Is.Zero);
    }

    [Test]
    public async Task Dispose_WhileACallHangs_EndsIt()
    {
        _bench[1].Program = FakeCpu.Hang;
        ulong answer = 0;
        Thread thread = new(() => answer = _bench.Call(OpTeeSmc.CallWithArgument).X0);
        thread.Start();
        Assert.That(SpinWait.SpinUntil(() => _bench[1].Runs > 0, LongEnough), Is.True);

        await _bench.DisposeAsync();

        Assert.That(thread.Join(LongEnough), Is.True);
        Assert.That(answer, Is.EqualTo(SmcccReturn.NotSupported));
        Assert.That(_bench.Vms[0].IsDisposed, Is.True);
        Assert.That(_bench.Call(OpTeeSmc.CallsUid).X0, Is.EqualTo(SmcccReturn.NotSupported));
    }

    [Test]
    public async Task Dispose_WhileAReplacementHangs_EndsIt()
    {
        CompanionBench bench = await StartReplacementThatHangsAsync();

        await bench.DisposeAsync().AsTask().WaitAsync(LongEnough);

        Assert.That(bench.Vms.Select(vm => vm.IsDisposed), Is.EqualTo([true, true]));
    }

    [Test]
    public async Task Reset_WhileAReplacementHangs_TakesItsPlace()
    {
        await using CompanionBench bench = await StartReplacementThatHangsAsync();

        await bench.Companion.ResetAsync().WaitAsync(LongEnough);

        Assert.That(bench.Vms.Select(vm => vm.IsDisposed), Is.EqualTo([true, true, false]));
        Assert.That(bench.Call(OpTeeSmc.CallsUid).X0, Is.Zero);
    }

    [Test]
    public async Task Call_OfANewDriverWhileAReplacementStarts_IsRepeatedAfterAQuantum()
    {
        await using CompanionBench bench = await StartReplacementThatHangsAsync();
        SmcRegisters registers = default;
        registers.X0 = OpTeeSmc.CallsUid;

        SmcOutcome outcome = await Task.Run(() => bench.Companion.Handle(ref registers, SmcRegisterSet.X0))
            .WaitAsync(LongEnough);

        Assert.That((outcome, registers.X0), Is.EqualTo((SmcOutcome.Retry, (ulong)OpTeeSmc.CallsUid)));
    }

    [TestCase(OpTeeSmc.CallWithArgument)]
    [TestCase(OpTeeSmc.CallsCount)]
    [TestCase(OpTeeSmc.ExchangeCapabilities)]
    public async Task Call_AllCoresAreInUse_IsRepeatedAfterAQuantum(uint functionId)
    {
        await using CompanionBench bench = new(CompanionBench.Options() with { AnswerDeadline = 2 * LongEnough });
        using CountdownEvent inside = new(2);
        using ManualResetEventSlim isFree = new();
        foreach (FakeCpu cpu in bench.Vms[0].Fakes)
        {
            cpu.Program = core =>
            {
                _ = inside.Signal();
                isFree.Wait();
                core.Program = FakeCpu.Serve;
                return FakeCpu.Serve(core);
            };
        }

        Task[] others = [.. Enumerable.Range(0, 2).Select(_ => Task.Run(() => bench.Call(OpTeeSmc.CallsCount)))];
        Assert.That(inside.Wait(LongEnough), Is.True);
        SmcRegisters registers = default;
        registers.X0 = functionId;
        registers.X1 = ulong.MaxValue;

        SmcOutcome outcome = await Task.Run(() => bench.Companion.Handle(ref registers, SmcRegisterSet.All))
            .WaitAsync(LongEnough);
        isFree.Set();
        await Task.WhenAll(others);

        Assert.That((outcome, registers.X0, registers.X1),
            Is.EqualTo((SmcOutcome.Retry, (ulong)functionId, ulong.MaxValue)));
        Assert.That(bench.Call(OpTeeSmc.CallsCount).X0, Is.Zero);
    }

    [Test]
    public void Start_CodeBeforeOpTeeNeverAnswers_SaysSoAndLeavesNothing()
    {
        // As where an SMC of the VM is undefined, and its exception vectors lead nowhere.
        FakeVm vm = new(1);
        vm.Fakes[0].Program = cpu =>
            cpu[Arm64Register.Pc] == FakeCpu.FrequencyCode ? FakeCpu.Hang(cpu) : FakeCpu.Serve(cpu);

        Assert.That(
            () =>
                new CompanionBench(CompanionBench.Options() with { StartDeadline = TimeSpan.FromSeconds(1) }, _ => vm),
            Throws.InstanceOf<TeeUnavailableException>().With.Message.Contains("EL3"));
        Assert.That(vm.IsDisposed, Is.True);
    }

    [Test]
    public void Start_CounterWithoutFrequency_SaysSo()
    {
        FakeVm vm = new(1);
        vm.Fakes[0].Program = cpu =>
            cpu[Arm64Register.Pc] == FakeCpu.FrequencyCode ? cpu.Call(0xbe00_ffff, 0) : FakeCpu.Serve(cpu);

        Assert.That(() => new CompanionBench(make: _ => vm), Throws.InstanceOf<TeeUnavailableException>()
            .With.Message.Contains("CNTFRQ_EL0"));
    }

    [Test]
    public void Failure_AgainAndAgain_IsLoggedOnce()
    {
        for (int failure = 0; failure < 3; failure++)
        {
            _bench[1].Program = _ => KvmExitReason.InternalError;
            _bench[0].Program = _bench[1].Program;
            _ = _bench.Call(OpTeeSmc.CallWithArgument);
            Assert.That(_bench.Call(OpTeeSmc.CallsUid).X0, Is.Zero);
        }

        Assert.That(_bench.Log.EventIds.Count(id => id is 2301 or 2302), Is.EqualTo(2));
    }

    [Test]
    public async Task Dispose_Again_DoesNothing()
    {
        await _bench.DisposeAsync();
        await _bench.DisposeAsync();

        Assert.That(() => _bench.Companion.ResetAsync(), Throws.InstanceOf<ObjectDisposedException>());
    }

    [Test]
    public async Task Dispose_WhileAnotherDisposes_EndsWithIt()
    {
        using ManualResetEventSlim isFree = new();
        _bench[1].Program = cpu =>
        {
            isFree.Wait();
            return FakeCpu.Serve(cpu);
        };
        Thread thread = new(() => _bench.Call(OpTeeSmc.CallsUid));
        thread.Start();
        Assert.That(SpinWait.SpinUntil(() => _bench[1].Runs > 0, LongEnough), Is.True);

        Task first = _bench.DisposeAsync().AsTask();
        Assert.That(SpinWait.SpinUntil(() => _bench[1].Kicks > 0, LongEnough), Is.True);
        Task second = _bench.DisposeAsync().AsTask();

        Assert.That(second.IsCompleted, Is.False, "a core is in use yet");
        isFree.Set();
        await Task.WhenAll(first, second);
        Assert.That(thread.Join(LongEnough), Is.True);
        Assert.That(_bench.Vms[0].IsDisposed, Is.True);
    }

    [Test]
    public void Start_OpTeeNeverAnswers_SaysSoAndLeavesNothing()
    {
        FakeVm vm = new(1);
        vm.Fakes[0].Program = FakeCpu.Hang;

        Assert.That(
            () =>
                new CompanionBench(CompanionBench.Options() with { StartDeadline = TimeSpan.FromSeconds(1) }, _ => vm),
            Throws.InstanceOf<TeeUnavailableException>().With.Message.Contains("does not answer in time"));
        Assert.That(vm.IsDisposed, Is.True);
    }

    [Test]
    public void Start_NoDeviceTreeIsLeft_SaysSo() =>
        Assert.That(
            () => new CompanionBench(make: _ => new FakeVm(1, deviceTree: new byte[100])),
            Throws.InstanceOf<TeeUnavailableException>().With.Message.Contains("CFG_DT"));

    [Test]
    public void Timer_ThatOpTeeSets_IsServedWhenItIsDue()
    {
        bool isServed = false;
        _bench[1].Program = cpu =>
        {
            ulong entry = cpu[Arm64Register.Pc];
            cpu[Arm64Register.PhysicalTimerControl] = entry == FakeCpu.Vectors + 24 ? 0ul : 1;
            cpu[Arm64Register.PhysicalTimerCompare] = cpu[Arm64Register.PhysicalCounter] + 20_000;
            isServed |= entry == FakeCpu.Vectors + 24;
            return FakeCpu.Serve(cpu);
        };

        _ = _bench.Call(OpTeeSmc.CallsUid);

        Assert.That(
            SpinWait.SpinUntil(
                () => _bench.Companion.CompanionStatus.Statistics.NativeInterrupts == 1, LongEnough),
            Is.True);
        Assert.That(isServed, Is.True);
    }

    /// <summary>A companion whose second OP-TEE hangs as it starts, for longer than a test waits.</summary>
    private static async Task<CompanionBench> StartReplacementThatHangsAsync()
    {
        TaskCompletionSource hangs = new();
        CompanionBench bench = new(CompanionBench.Options() with { StartDeadline = 2 * LongEnough }, number =>
        {
            FakeVm vm = new(2);
            if (number == 1)
            {
                vm.Fakes[0].Program = cpu =>
                {
                    hangs.TrySetResult();
                    return FakeCpu.Hang(cpu);
                };
            }

            return vm;
        });
        bench[1].Program = cpu => cpu.Call(0xbe00_0009);
        _ = bench.Call(OpTeeSmc.CallWithArgument);
        await hangs.Task.WaitAsync(LongEnough);
        return bench;
    }

    private void ThrowOnceFromTheLogger()
    {
        int messages = 0;
        _bench.Log.OnMessage = () =>
        {
            if (Interlocked.Increment(ref messages) == 1)
            {
                throw new IOException("The log is full.");
            }
        };
    }

    private void Kill()
    {
        _bench[1].Program = FakeCpu.Hang;
        Assert.That(_bench.Call(OpTeeSmc.CallWithArgument).X0, Is.EqualTo(SmcccReturn.NotSupported));
    }

    private sealed class NoSupervisor : ICompanionSupervisor
    {
        public void OnRun()
        {
        }

        public void OnTimer(long due)
        {
        }

        public void OnFailing()
        {
        }

        public void OnFailed()
        {
        }
    }
}
