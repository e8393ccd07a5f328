using System.Collections.Immutable;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Tests.Smccc;

[Parallelizable(ParallelScope.All)]
internal sealed class SmcRouterTests
{
    private static readonly SmcFunctionRange TrustedOs = SmcFunctionRange.OfOwner(isFast: true, 50);
    private static readonly SmcFunctionRange Standard = SmcFunctionRange.OfOwner(isFast: true, 4);

    [TestCase(0x8400_0010u, 1ul)]
    [TestCase(0xb200_0000u, 2ul)]
    [TestCase(0xb200_ffffu, 2ul)]
    [TestCase(0xb201_0005u, 2ul, Description = "with the hint of SMCCC 1.3")]
    [TestCase(0x8401_0010u, 1ul, Description = "with the hint of SMCCC 1.3")]
    public void Handle_TwoHandlers_GoesToTheOneWithTheRange(uint functionId, ulong answer)
    {
        SmcRouter router = new(new Service(1, Standard), new Service(2, TrustedOs));
        SmcRegisters registers = Registers(functionId);

        SmcOutcome outcome = router.Handle(ref registers, SmcRegisterSet.All);

        Assert.That(outcome, Is.EqualTo(SmcOutcome.Handled(SmcRegisterSet.X0)));
        Assert.That(registers.X0, Is.EqualTo(answer));
    }

    [TestCase(0x8500_0000u)]
    [TestCase(0xb202_0000u)]
    [TestCase(0xb1ff_ffffu)]
    public void Handle_CallOfNoHandler_NotSupported(uint functionId)
    {
        SmcRouter router = new(new Service(1, Standard), new Service(2, TrustedOs));
        SmcRegisters registers = Registers(functionId);

        SmcOutcome outcome = router.Handle(ref registers, SmcRegisterSet.All);

        Assert.That(outcome, Is.EqualTo(SmcOutcome.Handled(SmcRegisterSet.X0)));
        Assert.That(registers.X0, Is.EqualTo(ulong.MaxValue));
    }

    [Test]
    public void Handle_HandlerDeclines_NotSupported()
    {
        SmcRouter router = new(new Service(null, TrustedOs));
        SmcRegisters registers = Registers(0xb200_0000);

        SmcOutcome outcome = router.Handle(ref registers, SmcRegisterSet.All);

        Assert.That(outcome, Is.EqualTo(SmcOutcome.Handled(SmcRegisterSet.X0)));
        Assert.That(registers.X0, Is.EqualTo(SmcccReturn.NotSupported));
    }

    [Test]
    public void Handle_HandlerNeedsRegisters_PassesItOn()
    {
        SmcRouter router = new(new Service(3, TrustedOs) { Needs = SmcRegisterSet.Range(0, 4) });
        SmcRegisters registers = Registers(0xb200_0000);

        SmcOutcome outcome = router.Handle(ref registers, SmcRegisterSet.X0);

        Assert.That(outcome, Is.EqualTo(SmcOutcome.NeedsRegisters(SmcRegisterSet.Range(0, 4))));
    }

    [Test]
    public void Handle_RouterInRouter_Composes()
    {
        SmcRouter router = new(new SmcRouter(new Service(1, Standard)), new Service(2, TrustedOs));
        SmcRegisters registers = Registers(0x8400_0000);

        _ = router.Handle(ref registers);

        Assert.That(registers.X0, Is.EqualTo(1));
    }

    [Test]
    public void Ranges_TwoHandlers_AreBothInOrder() =>
        Assert.That(
            new SmcRouter(new Service(2, TrustedOs), new Service(1, Standard)).Ranges,
            Is.EqualTo([Standard, TrustedOs]));

    [Test]
    public void Constructor_NoHandlers_AnswersNothing()
    {
        SmcRouter router = new();
        SmcRegisters registers = Registers(0xb200_0000);

        Assert.That(router.Handle(ref registers).Kind, Is.EqualTo(SmcOutcomeKind.Handled));
        Assert.That(router.Ranges, Is.Empty);
    }

    [Test]
    public void Constructor_RangesOverlap_NamesBothRangesAndHandlers()
    {
        SmcFunctionRange inside = new(new SmcFunctionId(0xb200_fff0), 1);

        Assert.That(
            () => new SmcRouter(new Service(1, TrustedOs), new OtherService(2, inside)),
            Throws.ArgumentException.With.Message.Contains(
                "0xb200fff0–0xb200fff0 of OtherService overlap 0xb2000000–0xb201ffff of Service"));
    }

    [Test]
    public void Constructor_SameHandlerTwice_Refused()
    {
        Service service = new(1, TrustedOs);

        Assert.That(() => new SmcRouter(service, service), Throws.ArgumentException);
    }

    [Test]
    public void Constructor_Null_Refused()
    {
        Assert.That(() => new SmcRouter((IReadOnlyList<ISmcHandler>)null!), Throws.ArgumentNullException);
        Assert.That(() => new SmcRouter([null!]), Throws.ArgumentNullException);
    }

    private static SmcRegisters Registers(uint functionId)
    {
        SmcRegisters registers = default;
        registers.X0 = functionId;
        return registers;
    }

    private class Service(ulong? answer, params SmcFunctionRange[] ranges) : ISmcHandler
    {
        public SmcRegisterSet Needs { get; init; } = SmcRegisterSet.X0;

        public ImmutableArray<SmcFunctionRange> Ranges => [.. ranges];

        public SmcOutcome Handle(ref SmcRegisters registers, SmcRegisterSet loaded)
        {
            if (!loaded.Contains(Needs))
            {
                return SmcOutcome.NeedsRegisters(Needs);
            }

            registers.X0 = answer ?? registers.X0;
            return answer is null ? SmcOutcome.NotHandled : SmcOutcome.Handled(SmcRegisterSet.X0);
        }
    }

    private sealed class OtherService(ulong? answer, params SmcFunctionRange[] ranges) : Service(answer, ranges);
}
