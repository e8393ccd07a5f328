using OpTeeMediator.Kvm;
using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Tests.Linux;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Companion;

/// <summary>KVM, the VMM's logger and its interrupt line throw, each at every call of the same conversation.</summary>
[TestFixture]
internal sealed class FailureTests
{
    private static readonly TimeSpan LongEnough = TimeSpan.FromSeconds(30);

    [Test]
    public async Task Conversation_VmThrowsAtEachCall_TheNextDriverIsServedAndNothingIsLeft()
    {
        int failing = 0;
        FailurePoint point;
        do
        {
            point = new FailurePoint(++failing);
            await ConverseAsync(vm => new FailingVm(vm, point), () => { }, $"call {failing} throws");
        }
        while (point.HasThrown);

        Assert.That(failing, Is.GreaterThan(50), "calls of what KVM does");
    }

    [Test]
    public async Task Conversation_LoggerThrowsAtEachCall_TheNextDriverIsServedAndNothingIsLeft()
    {
        int failing = 0;
        FailurePoint point;
        do
        {
            point = new FailurePoint(++failing);
            await ConverseAsync(vm => vm, point.Pass, $"entry {failing} throws");
        }
        while (point.HasThrown);

        Assert.That(failing, Is.GreaterThan(3), "entries");
    }

    [Test]
    public void Start_InterruptLineThrows_LeavesNothing()
    {
        List<FakeVm> vms = [];

        Assert.That(
            () => OpTeeCompanion.Start(CompanionBench.Setup(
                CompanionBench.Options() with { NotificationInterrupt = new BrokenLine() }, _ => Make())),
            Throws.InstanceOf<IOException>());
        Assert.That(vms, Is.Empty);

        FakeVm Make()
        {
            vms.Add(new FakeVm(1));
            return vms[^1];
        }
    }

    /// <summary>A driver that starts, calls, loses its OP-TEE and starts again.</summary>
    private static async Task ConverseAsync(Func<FakeVm, ICompanionVm> wrap, Action onEntry, string what)
    {
        List<FakeVm> vms = [];
        ListLoggerFactory log = new() { OnMessage = onEntry };
        OpTeeCompanion companion;
        try
        {
            companion = OpTeeCompanion.Start(CompanionBench.Setup(
                CompanionBench.Options() with { LoggerFactory = log, AnswerDeadline = 2 * LongEnough }, _ => Make()));
        }
        catch (IOException)
        {
            Assert.That(vms.Select(vm => vm.IsDisposed), Is.All.True, what);
            return;
        }

        uint[] calls =
            [OpTeeSmc.CallsUid, OpTeeSmc.ExchangeCapabilities, OpTeeSmc.CallWithArgument, OpTeeSmc.CallsCount];
        Array.ForEach(calls, functionId => Call(companion, functionId, what));

        // Its OP-TEE fails.
        foreach (FakeCpu cpu in vms[^1].Fakes)
        {
            cpu.Program = _ => KvmExitReason.InternalError;
        }

        Call(companion, OpTeeSmc.CallWithArgument, what);

        // If the failure comes as late as the replacement or the driver that begins then, a reset helps.
        if (!IsServed())
        {
            try
            {
                await companion.ResetAsync().WaitAsync(LongEnough);
            }
            catch (IOException)
            {
                await companion.ResetAsync().WaitAsync(LongEnough);
            }

            Assert.That(IsServed(), Is.True, what);
        }

        await companion.DisposeAsync().AsTask().WaitAsync(LongEnough);
        Assert.That(vms.Select(vm => vm.IsDisposed), Is.All.True, what);

        bool IsServed() =>
            Call(companion, OpTeeSmc.CallsUid, what) == 0 && Call(companion, OpTeeSmc.CallWithArgument, what) == 0;

        ICompanionVm Make()
        {
            vms.Add(new FakeVm(2));
            return wrap(vms[^1]);
        }
    }

    private static ulong Call(OpTeeCompanion companion, uint functionId, string what)
    {
        SmcRegisters registers = default;
        long end = Environment.TickCount64 + (long)LongEnough.TotalMilliseconds;
        SmcOutcome outcome;
        do
        {
            registers.X0 = functionId;
            outcome = companion.Handle(ref registers, SmcRegisterSet.All);
        }
        while (outcome.Kind == SmcOutcomeKind.Retry && Environment.TickCount64 < end);

        Assert.That(outcome.Kind, Is.EqualTo(SmcOutcomeKind.Handled), what);
        return registers.X0;
    }

    private sealed class BrokenLine : IInterruptLine
    {
        public int Spi => throw new IOException("The line is broken.");

        public void Pulse()
        {
        }
    }
}
