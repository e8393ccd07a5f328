using System.Collections.Immutable;
using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.Arm64;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Linux.Guests;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Tests.Linux;

/// <summary>How many registers a forwarded call reads and writes: each is a system call on arm64 KVM.</summary>
[TestFixture]
public sealed class KvmSmcccTests
{
    // OPTEE_SMC_CALL_WITH_REGD_ARG needs the cookie in X1:X2 and the offset in X3.
    private const uint CallWithRegisteredArgument = 0x3200_0013;

    private const ulong SmcFlag = 1;
    private const ulong HvcFlag = 0;

    [Test]
    public void Handle_InvokeThatNeedsThreeRegisters_ReadsThreeAndWritesOne()
    {
        FakeRegisterFile file = new([0xdead_beef_3200_0013, 1, 2, 3, 4, 5, 6, 7]);
        ScriptedHandler handler = new(
            SmcOutcome.NeedsRegisters(SmcRegisterSet.Range(0, 3)),
            SmcOutcome.Handled(SmcRegisterSet.X0));

        SmcccCallReport report = SmcccCall.Handle(ref file, new KvmHypercallExit(CallWithRegisteredArgument, SmcFlag),
            handler, SmcccConduit.Smc);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(report, Is.EqualTo(new SmcccCallReport(true, 3, 1)));
            Assert.That(file.Trace, Is.EqualTo(["read X1", "read X2", "read X3", "write X0"]));
            Assert.That(handler.Calls[0], Is.EqualTo((SmcRegisterSet.X0, "32000013 0 0 0 0 0 0 0")));
            Assert.That(handler.Calls[1], Is.EqualTo((SmcRegisterSet.Range(0, 3), "32000013 1 2 3 0 0 0 0")));
        }
    }

    [Test]
    public void Handle_ResumeThatAsksTwice_ReadsEachRegisterOnce()
    {
        FakeRegisterFile file = new([0x3200_0003, 1, 2, 3, 4, 5, 6, 7]);
        ScriptedHandler handler = new(
            SmcOutcome.NeedsRegisters(SmcRegisterSet.Range(3, 3)),
            SmcOutcome.NeedsRegisters(SmcRegisterSet.Range(1, 5)),
            SmcOutcome.Handled(SmcRegisterSet.Range(0, 3)));

        SmcccCallReport report =
            SmcccCall.Handle(ref file, new KvmHypercallExit(0x3200_0003, SmcFlag), handler, SmcccConduit.Smc);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(report, Is.EqualTo(new SmcccCallReport(true, 5, 4)));
            Assert.That(file.Trace, Is.EqualTo(["read X3", "read X1", "read X2", "read X4", "read X5", "write X0",
                "write X1", "write X2", "write X3"]));
            Assert.That(handler.Calls[2], Is.EqualTo((SmcRegisterSet.Range(0, 5), "32000003 1 2 3 4 5 0 0")));
        }
    }

    [TestCase(SmcFlag, 4)]
    [TestCase(SmcFlag | 2, 2)]
    public void Handle_CallToBeMadeAgain_MovesTheProgramCounterBackAndLeavesTheRegisters(ulong flags, int length)
    {
        FakeRegisterFile file = new([0xbf00_ff01, 1, 2, 3, 4, 5, 6, 7]);
        ScriptedHandler handler = new(SmcOutcome.Retry);

        SmcccCallReport report =
            SmcccCall.Handle(ref file, new KvmHypercallExit(0xbf00_ff01, flags), handler, SmcccConduit.Smc);

        Assert.That(report, Is.EqualTo(new SmcccCallReport(true, 1, 1)));
        Assert.That(file.Trace, Is.EqualTo([$"move back {length}"]));
    }

    [Test]
    public void Handle_FastCallWithoutArguments_ReadsNothing()
    {
        FakeRegisterFile file = new([0xbf00_ff01, 0, 0, 0]);
        ScriptedHandler handler = new(SmcOutcome.Handled(SmcRegisterSet.Range(0, 3)));

        SmcccCallReport report =
            SmcccCall.Handle(ref file, new KvmHypercallExit(0xbf00_ff01, SmcFlag), handler, SmcccConduit.Smc);

        Assert.That(report, Is.EqualTo(new SmcccCallReport(true, 0, 4)));
    }

    [Test]
    public void Handle_AnswerInRegisters_IsWrittenBack()
    {
        FakeRegisterFile file = new([0xbf00_ff01, 0, 0, 0]);
        ScriptedHandler handler =
            new(SmcOutcome.Handled(SmcRegisterSet.Range(0, 1))) { Answer = [0x384f_b3e0, 0x7f8_1111] };

        _ = SmcccCall.Handle(ref file, new KvmHypercallExit(0xbf00_ff01, SmcFlag), handler, SmcccConduit.Smc);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(file[0], Is.EqualTo(0x384f_b3e0));
            Assert.That(file[1], Is.EqualTo(0x7f8_1111));
        }
    }

    [TestCase(HvcFlag, SmcccConduit.Smc)]
    [TestCase(SmcFlag, SmcccConduit.Hvc)]
    public void Handle_OtherInstructionThanAnnounced_IsNotSupportedAndHandlerNotAsked(ulong flags, SmcccConduit conduit)
    {
        FakeRegisterFile file = new([0x3200_0004]);
        ScriptedHandler handler = new();

        SmcccCallReport report = SmcccCall.Handle(ref file, new KvmHypercallExit(0x3200_0004, flags), handler, conduit);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(report, Is.EqualTo(new SmcccCallReport(false, 0, 1)));
            Assert.That(file[0], Is.EqualTo(SmcccReturn.NotSupported));
            Assert.That(handler.Calls, Is.Empty);
        }
    }

    [Test]
    public void Handle_HvcWhereHvcWasAnnounced_IsHandled()
    {
        FakeRegisterFile file = new([0x3200_0004]);
        ScriptedHandler handler = new(SmcOutcome.Handled(SmcRegisterSet.X0));

        Assert.That(SmcccCall.Handle(ref file, new KvmHypercallExit(0x3200_0004, HvcFlag), handler,
            SmcccConduit.Hvc).IsHandled, Is.True);
    }

    [Test]
    public void Handle_NotHandled_GuestGetsNotSupported()
    {
        FakeRegisterFile file = new([0xc400_0000]);
        ScriptedHandler handler = new(SmcOutcome.NotHandled);

        SmcccCallReport report =
            SmcccCall.Handle(ref file, new KvmHypercallExit(0xc400_0000, SmcFlag), handler, SmcccConduit.Smc);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(report, Is.EqualTo(new SmcccCallReport(false, 0, 1)));
            Assert.That(file[0], Is.EqualTo(ulong.MaxValue));
        }
    }

    [Test]
    public void Handle_HandlerAsksForWhatItHas_Throws()
    {
        FakeRegisterFile file = new([0x3200_0004]);
        ScriptedHandler handler = new(SmcOutcome.NeedsRegisters(SmcRegisterSet.X0));

        Assert.That(
            () => SmcccCall.Handle(ref file, new KvmHypercallExit(0x3200_0004, SmcFlag), handler, SmcccConduit.Smc),
            Throws.InvalidOperationException.With.Message.Contains(nameof(ScriptedHandler)));
    }

    [Test]
    public unsafe void Handle_ExitIsNotHypercall_Throws()
    {
        byte* run = stackalloc byte[512];
        new Span<byte>(run, 512).Clear();
        run[KvmRunLayout.ExitReason] = (byte)KvmExitReason.Mmio;

        Assert.That(() => KvmSmccc.Handle(-1, (nint)run, new ScriptedHandler()),
            Throws.ArgumentException.With.Message.Contains("Mmio"));
    }

    [Test]
    public unsafe void Handle_DescriptorIsNoVcpu_MessageSaysWhichRegister()
    {
        byte* run = stackalloc byte[512];
        new Span<byte>(run, 512).Clear();
        run[KvmRunLayout.ExitReason] = (byte)KvmExitReason.Hypercall;
        run[KvmRunLayout.HypercallFlags] = (byte)SmcFlag;
        ScriptedHandler handler = new(SmcOutcome.NeedsRegisters(SmcRegisterSet.Range(2, 2)));

        Assert.That(
            () => KvmSmccc.Handle(-1, (nint)run, handler),
            Throws.InstanceOf<SystemCallException>().With.Message.Contains("X2").And.Message.Contains("EBADF"));
    }

    [Test]
    public void Handle_SteadyState_AllocatesNothing()
    {
        SilentRegisterFile file = default;
        InvokeHandler handler = new();
        KvmHypercallExit exit = new(CallWithRegisteredArgument, SmcFlag);
        int reads = HandleTimes(ref file, exit, handler, 1000);

        long before = GC.GetAllocatedBytesForCurrentThread();
        reads += HandleTimes(ref file, exit, handler, 1000);
        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;

        using (Assert.EnterMultipleScope())
        {
            Assert.That(allocated, Is.Zero);
            Assert.That(reads, Is.EqualTo(2000 * 3));
        }
    }

    [Test]
    public void ForwardToUser_NotArm64_SaysWhatIsNeeded()
    {
        using KvmSystem system = KvmHost.OpenX86();
        using KvmVm vm = system.CreateVm();

        Assert.That(
            () => KvmSmccc.ForwardToUser(vm.Handle, new ScriptedHandler()),
            Throws.InstanceOf<NotSupportedException>().With.Message.Contains("Linux 6.4")
                .And.Message.Contains("arm64"));
    }

    [Test]
    public void ForwardToUser_DescriptorNotOpen_SaysSo() =>
        Assert.That(() => KvmSmccc.ForwardToUser(-1, new ScriptedHandler()), Throws.InstanceOf<SystemCallException>()
            .With.Message.Contains("not open"));

    [TestCase(Errno.EEXIST, "filtered already")]
    [TestCase(Errno.EBUSY, "before the first KVM_RUN")]
    [TestCase(Errno.EINVAL, "wraps")]
    public void FailureFor_KnownError_SaysRangeErrorAndRemedy(int error, string remedy)
    {
        SystemCallException exception = SmcccFilter.FailureFor(error, 0xb200_0000, 0x1_0000);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(exception.Message, Does.Contain(remedy).And.Contain("0xb2000000")
                .And.Contain(Errno.NameOf(error)));
            Assert.That(exception.ErrorNumber, Is.EqualTo(error));
        }
    }

    [TestCase(32, 0x0100_0020u)]
    [TestCase(1019, 0x0100_03fbu)]
    public void Spi_Number_HasKvmEncoding(int interrupt, uint expected) =>
        Assert.That(Arm64Interrupt.Spi(interrupt), Is.EqualTo(expected));

    [TestCase(0, 20, 0x0200_0014u)]
    [TestCase(255, 31, 0x02ff_001fu)]
    [TestCase(256, 16, 0x1200_0010u)]
    public void Ppi_VcpuAndNumber_HaveKvmEncoding(int vcpu, int interrupt, uint expected) =>
        Assert.That(Arm64Interrupt.Ppi(vcpu, interrupt), Is.EqualTo(expected));

    private static int HandleTimes(ref SilentRegisterFile file, KvmHypercallExit exit, InvokeHandler handler, int times)
    {
        int reads = 0;
        for (int index = 0; index < times; index++)
        {
            reads += SmcccCall.Handle(ref file, exit, handler, SmcccConduit.Smc).RegisterReads;
        }

        return reads;
    }

    private struct SilentRegisterFile : IRegisterFile
    {
        private ulong _written;

        public readonly ulong Read(int index) => _written + (ulong)index;

        public void Write(int index, ulong value) => _written = value;

        public readonly void MoveBack(int length)
        {
        }
    }

    private sealed class InvokeHandler : ISmcHandler
    {
        private static readonly SmcRegisterSet Needed = SmcRegisterSet.Range(0, 3);

        public ImmutableArray<SmcFunctionRange> Ranges => [];

        public SmcOutcome Handle(ref SmcRegisters registers, SmcRegisterSet loaded)
        {
            registers.X0 = loaded.Contains(Needed) ? 0 : registers.X0;
            return loaded.Contains(Needed) ? SmcOutcome.Handled(SmcRegisterSet.X0) : SmcOutcome.NeedsRegisters(Needed);
        }
    }
}
