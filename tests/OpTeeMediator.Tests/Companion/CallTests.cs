using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.Arm64;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Tests.Companion;

/// <summary>The switch between the worlds, register by register.</summary>
[TestFixture]
internal sealed class CallTests
{
    // What OP-TEE leaves in its registers at the end of every call here: a guest sees of it what the interface says.
    private static readonly ulong[] Leftovers = [0, 0x1111, 0x2222, 0x3333];

    private CompanionBench _bench = null!;

    [SetUp]
    public void SetUp()
    {
        _bench = new CompanionBench();
        _bench[1].Answer = [.. Leftovers];

        // The core of the thread that makes the calls: the first that no thread has had, the second.
        _ = _bench.Call(OpTeeSmc.CallsCount);
        _bench[1].Written.Clear();
        _bench[1].Read.Clear();
    }

    [TearDown]
    public async Task TearDown() => await _bench.DisposeAsync();

    [TestCase(0xbe00_0000u, TestName = "Handle_EntryDone_IsNotItsCall")]
    [TestCase(0xbe00_0005u, TestName = "Handle_CallDone_IsNotItsCall")]
    [TestCase(0xbe00_ffffu, TestName = "Handle_OwnCodesCall_IsNotItsCall")]
    [TestCase(0xb202_0001u, TestName = "Handle_ReservedBit_IsNotItsCall")]
    [TestCase(0xf200_0001u, TestName = "Handle_Smc64_IsNotItsCall")]
    [TestCase(0x3f00_0001u, TestName = "Handle_YieldingIdentification_IsNotItsCall")]
    [TestCase(0x8400_0000u, TestName = "Handle_Psci_IsNotItsCall")]
    [TestCase(0x3e00_0000u, TestName = "Handle_YieldingMonitorCall_IsNotItsCall")]
    public void Handle_NotACallOfTheTrustedOs_DoesNotReachIt(uint functionId)
    {
        SmcRegisters registers = _bench.Call(functionId, out _, out SmcOutcome outcome);

        Assert.That(outcome.Kind, Is.EqualTo(SmcOutcomeKind.NotHandled));
        Assert.That(registers.X0, Is.EqualTo(functionId));
        Assert.That(_bench[1].Written, Is.Empty);
    }

    [Test]
    public void Ranges_AnyCompanion_EqualTheMediators()
    {
        SmcFunctionRange[] expected =
            [new(new(0x3200_0000), 0x2_0000), new(new(0xb200_0000), 0x2_0000), new(new(0xbf00_0000), 0x2_0000)];

        Assert.That(_bench.Companion.Ranges, Is.EqualTo(expected));
    }

    [TestCase(OpTeeSmc.CallsUid, 0, 1u)]
    [TestCase(OpTeeSmc.ExchangeCapabilities, 1, 3u)]
    [TestCase(OpTeeSmc.CallWithArgument, 2, 7u)]
    [TestCase(OpTeeSmc.CallWithRpcArgument, 2, 7u)]
    [TestCase(OpTeeSmc.CallWithRegisteredArgument, 3, 15u)]
    [TestCase(0xb200_7777u, 6, 127u)]
    public void Handle_KnownCall_PassesTheDocumentedRegistersOnly(uint functionId, int arguments, uint expected)
    {
        _ = _bench.Call(functionId, out SmcRegisterSet loaded, out _, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6);

        Assert.That(loaded, Is.EqualTo(new SmcRegisterSet(expected)));
        for (int index = 1; index <= arguments; index++)
        {
            Assert.That(_bench[1].Written, Does.Contain(Arm64Register.X(index)));
        }

        // A fast call's answer is X0–X3, so none of these stays what OP-TEE has left.
        int written = new SmcFunctionId(functionId).IsFast ? int.Max(arguments, 3) : arguments;
        Assert.That(_bench[1].Written.Count(register => register.Id <= Arm64Register.X(30).Id),
            Is.EqualTo(written + 1));
    }

    [TestCase(OpTeeSmc.CallsCount, 0ul, 0ul, 0ul)]
    [TestCase(OpTeeSmc.ExchangeCapabilities, 0x81ul, 0ul, 0ul)]
    [TestCase(0xb200_7777u, 0xa1ul, 0xa2ul, 0xa3ul)]
    public void Handle_FastCall_ReturnsNoLeftoversOfOpTee(uint functionId, params ulong[] expected)
    {
        const ulong AnAddressOfOpTee = 0xffff_8000_1234_5678;
        for (int index = 1; index <= 7; index++)
        {
            _bench[1][Arm64Register.X(index)] = AnAddressOfOpTee;
        }

        // As OP-TEE's entry for fast calls does: what the call has no value for goes back as it came.
        _bench[1].Program = cpu =>
            cpu.Call(0xbe00_0005, 7, cpu[Arm64Register.X(1)], cpu[Arm64Register.X(2)], cpu[Arm64Register.X(3)]);

        // Notifications (bit 5 of the capabilities) are not offered here.
        SmcRegisters registers =
            _bench.Call(functionId, functionId == OpTeeSmc.ExchangeCapabilities ? 0x81ul : 0xa1, 0xa2, 0xa3);

        Assert.That(registers.X0, Is.EqualTo(7));
        Assert.That(new[] { registers.X1, registers.X2, registers.X3 }, Is.EqualTo(expected));
    }

    // OP-TEE's dispatcher expects what a monitor leaves: TF-A takes the hint out of the identifier, and OP-TEE reads
    // whole registers in fast calls.
    [TestCase(OpTeeSmc.CallsUid, 0, 1u)]
    [TestCase(OpTeeSmc.ExchangeCapabilities, 1, 3u)]
    [TestCase(OpTeeSmc.CallWithRpcArgument, 2, 7u)]
    [TestCase(OpTeeSmc.CallWithRegisteredArgument, 3, 15u)]
    public void Handle_SveHintAndUpperHalves_OpTeeSeesNeither(uint functionId, int arguments, uint expected)
    {
        const ulong UpperHalf = 0xdead_beef_0000_0000;
        ulong[] seen = [];
        _bench[1].Program = cpu =>
        {
            seen = [.. Enumerable.Range(0, arguments + 1).Select(index => cpu[Arm64Register.X(index)])];
            return FakeCpu.Serve(cpu);
        };

        _ = _bench.Call(functionId | (1 << 16), out SmcRegisterSet loaded, out SmcOutcome outcome, UpperHalf | 1,
            UpperHalf | 2, UpperHalf | 8);

        Assert.That((outcome.Kind, loaded), Is.EqualTo((SmcOutcomeKind.Handled, new SmcRegisterSet(expected))));
        Assert.That(seen, Is.EqualTo(new ulong[] { functionId, 1, 2, 8 }[..(arguments + 1)]));
    }

    [TestCase(OpTeeSmc.CallsUid, 4u)]
    [TestCase(OpTeeSmc.CallWithArgument, 0u)]
    public void Handle_FastOrYielding_EntersThroughItsVector(uint functionId, uint offset)
    {
        _ = _bench.Call(functionId);

        Assert.That(_bench[1].Entries[^1], Is.EqualTo(FakeCpu.Vectors + offset));
    }

    [Test]
    public void Handle_UpperHalfOfX0_StaysWithTheGuest()
    {
        SmcRegisters registers = default;
        registers.X0 = 0xdead_beef_0000_0000 | OpTeeSmc.CallsUid;
        _bench[1].Program = cpu =>
        {
            Assert.That(cpu[Arm64Register.X(0)], Is.EqualTo(OpTeeSmc.CallsUid));
            return FakeCpu.Serve(cpu);
        };

        SmcOutcome outcome = _bench.Companion.Handle(ref registers, SmcRegisterSet.All);

        Assert.That(outcome.Kind, Is.EqualTo(SmcOutcomeKind.Handled));
        Assert.That(registers.X0, Is.Zero);
    }

    [Test]
    public void Handle_FastCall_ReturnsFourRegisters()
    {
        SmcRegisters registers = _bench.Call(OpTeeSmc.CallsUid, out _, out SmcOutcome outcome);

        Assert.That(outcome.Registers, Is.EqualTo(SmcRegisterSet.Range(0, 3)));
        Assert.That(new[] { registers.X0, registers.X1, registers.X2, registers.X3 }, Is.EqualTo(Leftovers));
    }

    [TestCase(OpTeeSmc.ReturnOk)]
    [TestCase(OpTeeSmc.ReturnBadAddress)]
    [TestCase(OpTeeSmc.ReturnUnknownFunction)]
    public void Handle_YieldingCallEnds_ReturnsX0Only(uint answer)
    {
        _bench[1].Answer[0] = answer;

        SmcRegisters registers = _bench.Call(OpTeeSmc.CallWithArgument, out _, out SmcOutcome outcome, 0xa1, 0xa2);

        Assert.That(outcome.Registers, Is.EqualTo(SmcRegisterSet.X0));
        Assert.That((registers.X0, registers.X1, registers.X2, registers.X3),
            Is.EqualTo(((ulong)answer, 0xa1ul, 0xa2ul, 0ul)));
    }

    [TestCase(OpTeeSmc.ReturnRpcForeignInterrupt, 0b1001u)]
    [TestCase(OpTeeSmc.ReturnRpcCommand, 0b1111u)]
    [TestCase(OpTeeSmc.ReturnRpcAllocate, 0b1111u)]
    [TestCase(OpTeeSmc.ReturnRpcFree, 0b1111u)]
    public void Handle_YieldingCallReturnsRpc_ReturnsItsRegisters(uint answer, uint expected)
    {
        _bench[1].Answer[0] = answer;

        SmcRegisters registers = _bench.Call(OpTeeSmc.CallWithArgument, out _, out SmcOutcome outcome, 0xa1, 0xa2);

        Assert.That(outcome.Registers, Is.EqualTo(new SmcRegisterSet(expected)));
        Assert.That(registers.X3, Is.EqualTo(Leftovers[3]));
    }

    [TestCase(OpTeeSmc.ReturnRpcForeignInterrupt, 0b1001u)]
    [TestCase(OpTeeSmc.ReturnRpcCommand, 0b1001u)]
    [TestCase(OpTeeSmc.ReturnRpcAllocate, 0b11_1111u)]
    [TestCase(OpTeeSmc.ReturnRpcFree, 0b11_1111u)]
    public void Handle_Resumption_PassesTheRegistersOfTheAnswer(uint rpc, uint expected)
    {
        const ulong Thread = 1;
        _bench[1].Answer = [rpc, 0, 0, Thread];
        _ = _bench.Call(OpTeeSmc.CallWithArgument);

        _ = _bench.Call(OpTeeSmc.ReturnFromRpc, out SmcRegisterSet loaded, out _, 1, 2, Thread, 4, 5);

        Assert.That(loaded, Is.EqualTo(new SmcRegisterSet(expected)));
    }

    [TestCase(0ul)]
    [TestCase(7ul)]
    [TestCase(255ul)]
    [TestCase(256ul)]
    [TestCase(0xffff_fffful)]
    [TestCase(0xdead_beef_dead_beeful)]
    [TestCase(0xffff_ffff_0000_0007ul)]
    public void Handle_ResumptionWithoutSuspension_IsRefused(ulong resumeInformation)
    {
        SmcRegisters registers =
            _bench.Call(OpTeeSmc.ReturnFromRpc, out _, out SmcOutcome outcome, 1, 2, resumeInformation);

        Assert.That(registers.X0, Is.EqualTo(OpTeeSmc.ReturnResume));
        Assert.That(outcome.Registers, Is.EqualTo(SmcRegisterSet.X0));
        Assert.That(_bench[1].Written, Is.Empty, "OP-TEE is not entered");
    }

    [TestCase(OpTeeSmc.ReturnRpcForeignInterrupt)]
    [TestCase(OpTeeSmc.ReturnRpcAllocate)]
    public void Handle_ResumptionAgain_IsRefused(uint rpc)
    {
        const ulong Thread = 3;
        _bench[1].Answer = [rpc, 0, 0, Thread];
        _ = _bench.Call(OpTeeSmc.CallWithArgument);
        _bench[1].Answer = [.. Leftovers];

        Assert.That(_bench.Call(OpTeeSmc.ReturnFromRpc, 1, 2, Thread).X0, Is.EqualTo(OpTeeSmc.ReturnOk));
        int runs = _bench[1].Runs;
        Assert.That(_bench.Call(OpTeeSmc.ReturnFromRpc, 1, 2, Thread).X0, Is.EqualTo(OpTeeSmc.ReturnResume));
        Assert.That(_bench[1].Runs, Is.EqualTo(runs));
    }

    [Test]
    public void Handle_YieldingCall_SetsTheTimerThatEndsItsQuantum()
    {
        _bench[1][Arm64Register.VirtualCounter] = 1000;

        _ = _bench.Call(OpTeeSmc.CallWithArgument);

        // 4 ms of a counter of 1 MHz.
        Assert.That(_bench[1][Arm64Register.VirtualTimerCompare], Is.EqualTo(5000));
    }

    [Test]
    public void Handle_FastCall_LeavesTheTimerAlone()
    {
        _ = _bench.Call(OpTeeSmc.CallsUid);

        Assert.That(_bench[1].Written, Does.Not.Contain(Arm64Register.VirtualTimerCompare));
    }

    [Test]
    public void Handle_FirstCallOnACore_TurnsItOn()
    {
        Assert.That(_bench[1].Entries[0], Is.EqualTo(FakeCpu.Vectors + 8));
        Assert.That(_bench[1].Entries, Has.Exactly(1).EqualTo(FakeCpu.Vectors + 8));
    }

    [Test]
    public void Handle_DeviceAccessAndInterruption_GoOn()
    {
        Queue<KvmExitReason> exits = new([KvmExitReason.Mmio, KvmExitReason.Interrupted]);
        _bench[1].MmioAddress = 0x0800_0004;
        _bench[1].Program = cpu => exits.TryDequeue(out KvmExitReason exit) ? exit : FakeCpu.Serve(cpu);

        SmcRegisters registers = _bench.Call(OpTeeSmc.CallsUid);

        Assert.That(registers.X1, Is.EqualTo(Leftovers[1]));
        Assert.That(_bench.Vms[0].Accesses, Is.EqualTo(new[] { (1, new GuestAddress(0x0800_0004)) }));
    }

    [Test]
    public void Handle_FromTwoThreadsAtOnce_UsesTwoCores()
    {
        using Barrier both = new(2);
        foreach (FakeCpu cpu in _bench.Vms[0].Fakes)
        {
            cpu.Program = core =>
            {
                // Passes only if the other core is in a call too.
                Assert.That(core[Arm64Register.Pc] != FakeCpu.Vectors + 4
                    || both.SignalAndWait(TimeSpan.FromSeconds(20)), Is.True);
                return FakeCpu.Serve(core);
            };
        }

        Thread other = new(() => _ = _bench.Call(OpTeeSmc.CallsUid));
        other.Start();
        _ = _bench.Call(OpTeeSmc.CallsUid);
        other.Join();

        Assert.That(_bench.Companion.CompanionStatus.Statistics.FastCalls, Is.EqualTo(4));
    }

    [Test]
    public void Handle_MoreThreadsThanCores_AllGetTheirTurn()
    {
        Thread[] threads = [.. Enumerable.Range(0, 6).Select(_ => new Thread(() =>
        {
            for (int count = 0; count < 500; count++)
            {
                _bench.Call(OpTeeSmc.CallsUid);
            }
        }))];
        Array.ForEach(threads, thread => thread.Start());
        Array.ForEach(threads, thread => thread.Join());

        Assert.That(_bench.Companion.CompanionStatus.Statistics.FastCalls, Is.EqualTo(3002));
    }

    [Test]
    public void Handle_AlwaysTheSameThread_StaysOnItsCore()
    {
        int before = _bench[0].Runs;
        for (int count = 0; count < 10; count++)
        {
            _ = _bench.Call(OpTeeSmc.CallsUid);
        }

        Assert.That(_bench[0].Runs, Is.EqualTo(before));
    }

    [Test]
    public void ExchangeCapabilities_WithoutAnInterrupt_OffersNoNotifications()
    {
        _bench[1].Answer = [0, 0x7f, 63, 4];

        Assert.That(_bench.Call(OpTeeSmc.ExchangeCapabilities, 0).X1, Is.EqualTo(0x5f));
    }
}
