using OpTeeMediator.Linux.Companion;

namespace OpTeeMediator.Tests.Companion;

/// <summary>The registers of a GIC that OP-TEE sets up and reads back.</summary>
[TestFixture]
internal sealed class GicBankTests
{
    private readonly byte[] _word = new byte[4];
    private GicBank _bank = null!;

    [SetUp]
    public void SetUp() => _bank = new GicBank(64);

    [TestCase(0x084, TestName = "Register_Group_ReadsBack")]
    [TestCase(0x404, TestName = "Register_Priority_ReadsBack")]
    [TestCase(0xc04, TestName = "Register_Configuration_ReadsBack")]
    [TestCase(0xd04, TestName = "Register_GroupModifier_ReadsBack")]
    public void Register_Written_ReadsBack(int offset)
    {
        Write(offset, 0x1234_5678);

        Assert.That(Read(offset), Is.EqualTo(0x1234_5678));
    }

    [Test]
    public void Enable_SetAndCleared_BothRegistersShowWhatIsOn()
    {
        Write(0x104, 0xff);
        Write(0x104, 0xf00);
        Write(0x184, 0xf);

        Assert.That(Read(0x104), Is.EqualTo(0xff0));
        Assert.That(Read(0x184), Is.EqualTo(0xff0));
        Assert.That(Read(0x100), Is.Zero, "the other word");
    }

    [TestCase(0x010)]
    [TestCase(0x280)]
    [TestCase(0x300)]
    [TestCase(0x804)]
    [TestCase(0xe00)]
    [TestCase(0x6100)]
    [TestCase(0x088)]
    [TestCase(0x440)]
    public void Register_Unimplemented_ReadsZeroAndIgnoresWrites(int offset)
    {
        Write(offset, uint.MaxValue);

        Assert.That(Read(offset), Is.Zero);
    }

    [Test]
    public void Priority_OfOneInterrupt_IsAByte()
    {
        _ = _bank.Write(0x421, [0xa5], out _);

        Assert.That(Read(0x420), Is.EqualTo(0xa500));
    }

    [Test]
    public void Register_AccessedBeyondTheLast_GivesWhatIsThere()
    {
        byte[] eight = [.. Enumerable.Repeat((byte)0xff, 8)];
        _ = _bank.Write(0x43c, eight, out _);

        _bank.Read(0x43c, eight);

        Assert.That(eight, Is.EqualTo(new byte[] { 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0 }));
    }

    [Test]
    public void SetPending_AWord_TellsWhich()
    {
        uint pending = _bank.Write(0x204, [0x01, 0, 0, 0x80], out int word);

        Assert.That((pending, word), Is.EqualTo((0x8000_0001u, 1)));
        Assert.That(Read(0x204), Is.Zero);
    }

    [TestCase(0u, 0u, false)]
    [TestCase(2u, 0u, true)]
    [TestCase(2u, 2u, false)]
    [TestCase(0u, 2u, false)]
    public void IsNonSecure_AnyGroupAndModifier_FollowsBoth(uint group, uint modifier, bool expected)
    {
        _bank.SetGroups(1, group, modifier);

        Assert.That(_bank.IsNonSecure(33), Is.EqualTo(expected));
    }

    private void Write(int offset, uint value) => _ = _bank.Write(offset, BitConverter.GetBytes(value), out _);

    private uint Read(int offset)
    {
        _bank.Read(offset, _word);
        return BitConverter.ToUInt32(_word);
    }
}
