using OpTeeMediator.Smccc;

namespace OpTeeMediator.Tests.Smccc;

[Parallelizable(ParallelScope.All)]
internal sealed class SmcFunctionIdTests
{
    [TestCase(0xb200_0009u, true, false, 50, 9)]
    [TestCase(0x3200_0013u, false, false, 50, 0x13)]
    [TestCase(0xbf00_ff01u, true, false, 63, 0xff01)]
    [TestCase(0xc400_0001u, true, true, 4, 1)]
    [TestCase(0x0000_0000u, false, false, 0, 0)]
    [TestCase(0xffff_ffffu, true, true, 63, 0xffff)]
    public void Fields_OfAnIdentifier_AreItsBits(uint value, bool isFast, bool isSmc64, int owner, int number)
    {
        SmcFunctionId id = new(value);

        Assert.That((id.IsFast, id.IsSmc64, id.Owner, id.Number), Is.EqualTo((isFast, isSmc64, owner, number)));
    }

    [TestCase(true, 50, 9, 0xb200_0009u)]
    [TestCase(false, 50, 4, 0x3200_0004u)]
    [TestCase(true, 63, 0xffff, 0xbf00_ffffu)]
    public void Create_Fields_GivesTheSmc32Identifier(bool isFast, int owner, int number, uint value) =>
        Assert.That(SmcFunctionId.Create(isFast, owner, number).Value, Is.EqualTo(value));

    [TestCase(-1, 0)]
    [TestCase(64, 0)]
    [TestCase(0, -1)]
    [TestCase(0, 0x1_0000)]
    public void Create_FieldTooLarge_Throws(int owner, int number) =>
        Assert.That(() => SmcFunctionId.Create(true, owner, number), Throws.InstanceOf<ArgumentOutOfRangeException>());

    [Test]
    public void FunctionId_GarbageAboveW0_Ignored()
    {
        SmcRegisters registers = default;
        registers.X0 = 0x1234_5678_b200_0009;

        Assert.That(registers.FunctionId, Is.EqualTo(new SmcFunctionId(0xb200_0009)));
    }

    [Test]
    public void Pair_GarbageInUpperHalves_Ignored()
    {
        SmcRegisters registers = default;
        registers.X1 = 0x1111_1111_0000_0002;
        registers.X2 = 0x2222_2222_4000_0000;

        Assert.That(registers.Pair(1, 2), Is.EqualTo(0x2_4000_0000));
    }

    [TestCase(0xb1ff_ffffu, false)]
    [TestCase(0xb200_0000u, true)]
    [TestCase(0xb200_ffffu, true)]
    [TestCase(0xb201_0000u, true)]
    [TestCase(0xb201_ffffu, true)]
    [TestCase(0xb202_0000u, false)]
    [TestCase(0u, false)]
    public void Contains_AroundARange_ItsIdentifiersOnly(uint value, bool isIn) =>
        Assert.That(SmcFunctionRange.OfOwner(true, 50).Contains(new SmcFunctionId(value)), Is.EqualTo(isIn));

    [TestCase(0xb200_0000u, 0u)]
    [TestCase(0xffff_ffffu, 2u)]
    [TestCase(2u, 0xffff_ffffu)]
    public void Range_EmptyOrWrapping_Throws(uint first, uint count) =>
        Assert.That(
            () => new SmcFunctionRange(new SmcFunctionId(first), count),
            Throws.InstanceOf<ArgumentOutOfRangeException>());

    [Test]
    public void Range_UpToTheLastIdentifier_IsWhole()
    {
        SmcFunctionRange range = new(new SmcFunctionId(0xffff_fff0), 16);

        Assert.That(range.Last.Value, Is.EqualTo(uint.MaxValue));
        Assert.That(range.Contains(new SmcFunctionId(uint.MaxValue)));
    }

    [TestCase(0xb200_0000u, 0x10u, true)]
    [TestCase(0xb201_ffffu, 0x10u, true)]
    [TestCase(0xb1ff_ff00u, 0x100u, false)]
    [TestCase(0xb1ff_ff00u, 0x101u, true)]
    [TestCase(0xb202_0000u, 1u, false)]
    public void Overlaps_NeighboursAndOthers_OnlyIfOneIsShared(uint first, uint count, bool overlaps)
    {
        SmcFunctionRange trustedOs = SmcFunctionRange.OfOwner(true, 50);
        SmcFunctionRange other = new(new SmcFunctionId(first), count);

        Assert.That((trustedOs.Overlaps(other), other.Overlaps(trustedOs)), Is.EqualTo((overlaps, overlaps)));
    }
}
