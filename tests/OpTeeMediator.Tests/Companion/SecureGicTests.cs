using OpTeeMediator.Linux.Companion;

namespace OpTeeMediator.Tests.Companion;

/// <summary>The GIC as OP-TEE sees it when the monitor hands it over.</summary>
[TestFixture]
internal sealed class SecureGicTests
{
    private const int NotificationInterrupt = 219;

    private readonly List<int> _notified = [];
    private SecureGic _gic = null!;

    [SetUp]
    public void SetUp()
    {
        _notified.Clear();
        _gic = new SecureGic(2, _notified.Add);
    }

    [TestCase(0x0000, 0x37u, TestName = "Distributor_Control")]
    [TestCase(0x0004, 0x48_0407u, TestName = "Distributor_Type")]
    [TestCase(0xffe8, 0x3bu, TestName = "Distributor_Identification")]
    [TestCase(0x0084, uint.MaxValue, TestName = "Distributor_GroupOfSpis")]
    [TestCase(0x0080, 0u, TestName = "Distributor_GroupOfPrivateInterrupts")]
    [TestCase(0x2000, 0u, TestName = "Distributor_Reserved")]
    public void Distributor_AtHandOver_Reads(int offset, uint expected) =>
        Assert.That(ReadDistributor(offset), Is.EqualTo(expected));

    [TestCase(0x00008, 0x0000_0000_0000_0000ul, TestName = "Redistributor_FirstType")]
    [TestCase(0x20008, 0x0000_0001_0000_0110ul, TestName = "Redistributor_LastType")]
    [TestCase(0x00014, 0ul, TestName = "Redistributor_Awake")]
    [TestCase(0x0ffe8, 0x3bul, TestName = "Redistributor_Identification")]
    [TestCase(0x10080, 0xffff_00fful, TestName = "Redistributor_Group")]
    [TestCase(0x30d00, 0x0000_ff00ul, TestName = "Redistributor_GroupModifier")]
    [TestCase(0x40008, 0ul, TestName = "Redistributor_OfNoCore")]
    public void Redistributor_AtHandOver_Reads(int offset, ulong expected)
    {
        byte[] eight = new byte[8];
        _gic.AccessRedistributors(offset, isWrite: false, eight);

        Assert.That(BitConverter.ToUInt64(eight), Is.EqualTo(expected));
    }

    [Test]
    public void Redistributor_TypeReadAsTwoWords_GivesBothHalves()
    {
        byte[] four = new byte[4];
        _gic.AccessRedistributors(0x2000c, isWrite: false, four);

        Assert.That(BitConverter.ToUInt32(four), Is.EqualTo(1));
    }

    [Test]
    public void Control_Written_StaysAsItIs()
    {
        _gic.AccessDistributor(0, isWrite: true, new byte[4]);

        Assert.That(ReadDistributor(0), Is.EqualTo(0x37));
    }

    [Test]
    public void Redistributors_OfTwoCores_AreApart()
    {
        _gic.AccessRedistributors(0x10100, isWrite: true, BitConverter.GetBytes(1u << 29));
        byte[] four = new byte[4];

        _gic.AccessRedistributors(0x30100, isWrite: false, four);
        Assert.That(BitConverter.ToUInt32(four), Is.Zero);
        _gic.AccessRedistributors(0x10180, isWrite: false, four);
        Assert.That(BitConverter.ToUInt32(four), Is.EqualTo(1u << 29));
    }

    [Test]
    public void SetPending_ANonSecureSpi_NotifiesTheGuest()
    {
        SetPending(NotificationInterrupt);

        Assert.That(_notified, Is.EqualTo(new[] { NotificationInterrupt }));
    }

    [Test]
    public void SetPending_ASecureSpi_NotifiesNobody()
    {
        _gic.AccessDistributor(0x080 + (NotificationInterrupt / 32 * 4), isWrite: true, new byte[4]);

        SetPending(NotificationInterrupt);

        Assert.That(_notified, Is.Empty);
    }

    [Test]
    public void SetPending_APrivateInterrupt_NotifiesNobody()
    {
        _gic.AccessRedistributors(0x10200, isWrite: true, BitConverter.GetBytes(uint.MaxValue));
        _gic.AccessDistributor(0x200, isWrite: true, BitConverter.GetBytes(uint.MaxValue));

        Assert.That(_notified, Is.Empty);
    }

    private void SetPending(int interrupt) =>
        _gic.AccessDistributor(0x200 + (interrupt / 32 * 4), isWrite: true, BitConverter.GetBytes(1u << interrupt));

    private uint ReadDistributor(int offset)
    {
        byte[] four = new byte[4];
        _gic.AccessDistributor(offset, isWrite: false, four);
        return BitConverter.ToUInt32(four);
    }
}
