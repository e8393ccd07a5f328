using OpTeeMediator.Memory;
using OpTeeMediator.Testing;

namespace OpTeeMediator.Tests.Memory;

[Parallelizable(ParallelScope.All)]
internal sealed class GuestRangeTests
{
    [TestCase(0x1000ul, 0x1000ul, true)]
    [TestCase(0x1ffful, 1ul, true)]
    [TestCase(0x2000ul, 0ul, true)]
    [TestCase(0x2000ul, 1ul, false)]
    [TestCase(0xffful, 1ul, false)]
    [TestCase(0x1000ul, 0x1001ul, false)]
    [TestCase(0x1800ul, ulong.MaxValue, false)]
    [TestCase(ulong.MaxValue, 0x1001ul, false)]
    public void Contains_AroundARange_NoSumWraps(ulong address, ulong length, bool isIn) =>
        Assert.That(new GuestRange(0x1000, 0x1000).Contains(address, length), Is.EqualTo(isIn));

    [TestCase(0ul, 0x1000ul, false)]
    [TestCase(0ul, 0x1001ul, true)]
    [TestCase(0x1ffful, 1ul, true)]
    [TestCase(0x2000ul, 1ul, false)]
    [TestCase(0x1800ul, 0ul, false)]
    public void Overlaps_AroundARange_OnlyIfAByteIsShared(ulong start, ulong length, bool overlaps) =>
        Assert.That(new GuestRange(0x1000, 0x1000).Overlaps(new GuestRange(start, length)), Is.EqualTo(overlaps));

    [Test]
    public void Constructor_Wraps_Throws()
    {
        Assert.That(() => new GuestRange(ulong.MaxValue, 1), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => new GuestRange(1, ulong.MaxValue), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(new GuestRange(1, ulong.MaxValue - 1).End.Value, Is.EqualTo(ulong.MaxValue));
    }

    [TestCase(ulong.MaxValue, 0ul, true)]
    [TestCase(ulong.MaxValue, 1ul, false)]
    [TestCase(1ul, ulong.MaxValue, false)]
    public void TryAdd_AroundTheEnd_SaysWhetherItFits(ulong address, ulong offset, bool fits)
    {
        Assert.That(new GuestAddress(address).TryAdd(offset, out _), Is.EqualTo(fits));
        Assert.That(
            () => new GuestAddress(address).Add(offset),
            fits ? Throws.Nothing : Throws.InstanceOf<OverflowException>());
    }

    [Test]
    public void TryReadAndTryWrite_Values_AreLittleEndian()
    {
        PlainGuestMemory memory = new(new ArrayGuestMemory(0x1000, 16));

        Assert.That(memory.TryWrite(0x1001, 0x0102_0304_0506_0708ul));
        Assert.That(memory.TryRead(0x1001, out byte low));
        Assert.That(memory.TryRead(0x1008, out byte high));
        Assert.That((low, high), Is.EqualTo(((byte)8, (byte)1)));
        Assert.That(memory.TryRead(0x100d, out uint _), Is.False);
        Assert.That(memory.TryWrite(0xfff, (ushort)1), Is.False);
    }
}
