using OpTeeMediator.Smccc;

namespace OpTeeMediator.Tests.Smccc;

[Parallelizable(ParallelScope.All)]
internal sealed class SmcRegisterSetTests
{
    [TestCase(0, 0, 0x1u)]
    [TestCase(0, 3, 0xfu)]
    [TestCase(3, 3, 0x8u)]
    [TestCase(0, 17, 0x3_ffffu)]
    [TestCase(17, 17, 0x2_0000u)]
    public void Range_FromFirstToLast_HasBothEnds(int first, int last, uint bits) =>
        Assert.That(SmcRegisterSet.Range(first, last).Bits, Is.EqualTo(bits));

    [TestCase(-1, 0)]
    [TestCase(0, 18)]
    [TestCase(2, 1)]
    public void Range_OutsideOrReversed_Throws(int first, int last) =>
        Assert.That(() => SmcRegisterSet.Range(first, last), Throws.InstanceOf<ArgumentOutOfRangeException>());

    [Test]
    public void Members_OfSomeSets_AreSetAlgebra()
    {
        SmcRegisterSet low = SmcRegisterSet.Range(0, 3);
        SmcRegisterSet middle = SmcRegisterSet.Range(2, 5);

        Assert.That(low.Union(middle), Is.EqualTo(SmcRegisterSet.Range(0, 5)));
        Assert.That(low.Except(middle), Is.EqualTo(SmcRegisterSet.Range(0, 1)));
        Assert.That(low.Contains(SmcRegisterSet.X0));
        Assert.That(middle.Contains(SmcRegisterSet.X0), Is.False);
        Assert.That((low.Count, SmcRegisterSet.All.Count, SmcRegisterSet.None.IsEmpty), Is.EqualTo((4, 18, true)));
    }

    [Test]
    public void TryTakeFirst_UntilEmpty_GivesEachOnceInOrder()
    {
        SmcRegisterSet set = new(0b10_0000_0000_0000_1001);

        bool first = SmcRegisterSet.TryTakeFirst(ref set, out int x0);
        bool second = SmcRegisterSet.TryTakeFirst(ref set, out int x3);
        bool third = SmcRegisterSet.TryTakeFirst(ref set, out int x17);
        bool fourth = SmcRegisterSet.TryTakeFirst(ref set, out _);

        Assert.That((first, second, third, fourth), Is.EqualTo((true, true, true, false)));
        Assert.That((x0, x3, x17), Is.EqualTo((0, 3, 17)));
    }

    [TestCase(0u, "none")]
    [TestCase(0b1001u, "X0 X3")]
    public void ToString_Set_NamesItsRegisters(uint bits, string text) =>
        Assert.That(new SmcRegisterSet(bits).ToString(), Is.EqualTo(text));

    [TestCase(SmcOutcomeKind.NotHandled, 0u)]
    [TestCase(SmcOutcomeKind.Handled, 0x3_ffffu)]
    [TestCase(SmcOutcomeKind.NeedsRegisters, 0x9u)]
    [TestCase(SmcOutcomeKind.Retry, 0u)]
    public void Outcome_KindAndRegisters_AreWhatWasGiven(SmcOutcomeKind kind, uint bits)
    {
        SmcOutcome outcome = kind switch
        {
            SmcOutcomeKind.Handled => SmcOutcome.Handled(new SmcRegisterSet(bits)),
            SmcOutcomeKind.Retry => SmcOutcome.Retry,
            SmcOutcomeKind.NeedsRegisters => SmcOutcome.NeedsRegisters(new SmcRegisterSet(bits)),
            _ => SmcOutcome.NotHandled,
        };

        Assert.That((outcome.Kind, outcome.Registers.Bits), Is.EqualTo((kind, bits)));
    }
}
