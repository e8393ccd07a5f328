using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Tests.Companion;

/// <summary>What a VMM may ask for.</summary>
[TestFixture]
internal sealed class OptionsTests
{
    private static readonly OpTeeCompanionOptions Good = CompanionBench.Options();

    [Test]
    public void Validate_Defaults_AreGood()
    {
        Assert.That(() => Good.Validate(), Throws.Nothing);
        Assert.That(Good.CoreCount, Is.EqualTo(4));
    }

    [Test]
    public void Validate_OutOfRange_NamesTheOption()
    {
        Refuses(nameof(Good.Cores), Good with { Cores = 5 });
        Refuses(nameof(Good.Cores), Good with { Cores = -1 });
        Refuses(nameof(Good.Quantum), Good with { Quantum = TimeSpan.Zero });
        Refuses(nameof(Good.Quantum), Good with { Quantum = TimeSpan.FromSeconds(2) });
        Refuses(nameof(Good.AnswerDeadline), Good with { AnswerDeadline = TimeSpan.FromMilliseconds(10) });
        Refuses(nameof(Good.AnswerDeadline),
            Good with { Quantum = TimeSpan.FromSeconds(1), AnswerDeadline = TimeSpan.FromMilliseconds(500) });
        Refuses(nameof(Good.StartDeadline), Good with { StartDeadline = TimeSpan.FromHours(1) });
        Refuses(nameof(Good.Platform), Good with { Platform = new OpTeePlatform { Cores = 17 } });
        Refuses(nameof(Good.Platform),
            Good with { Platform = new OpTeePlatform { SecureMemory = new GuestRange(0x0e10_0001, 4096) } });
    }

    [Test]
    public void Validate_NameNull_Throws() => Assert.That(() => (Good with { Name = null! })
        .Validate(), Throws.ArgumentNullException.With.Message.Contains("Name"));

    [Test]
    public void Validate_ImageThatDoesNotFit_NamesBoth() =>
        Refuses("[0xe100000, 0xe101000)", Good with { Image = ImageFiles.Raw(new byte[5000]),
            Platform = new OpTeePlatform { SecureMemory = new GuestRange(0x0e10_0000, 4096) } });

    [TestCase(0x0e00_0000ul, "secure memory")]
    [TestCase(0x0d00_0000ul, "device tree")]
    [TestCase(0x0800_0000ul, "GIC distributor")]
    [TestCase(0x0810_0000ul, "GIC redistributors")]
    [TestCase(0x0904_0000ul, "UART")]
    public void CheckLayout_GuestRamOverOpTees_SaysOverWhat(ulong start, string what) =>
        Assert.That(
            () => CompanionVm.CheckLayout([new GuestRange(start, 0x20_0000)], Good),
            Throws.ArgumentException.With.Message.Contains(what));

    [Test]
    public void CheckLayout_DevicesInSecureMemory_SaysWhich() =>
        Assert.That(
            () => CompanionVm.CheckLayout([],
                Good with { Platform = new OpTeePlatform { GicDistributor = 0x0e20_0000 } }),
            Throws.ArgumentException.With.Message.Contains("secure memory").And.Message.Contains("GIC distributor"));

    [Test]
    public void CheckLayout_UsualMachine_IsGood() =>
        Assert.That(() => CompanionVm.CheckLayout([new GuestRange(0x4000_0000, 0x1_0000_0000)], Good), Throws.Nothing);

    [Test]
    public void FindRoom_GuestRamIsThere_ReturnsTheRangeAfterIt() =>
        Assert.That(CompanionVm.FindRoom([new GuestRange(0x1000_0000, 0x3000_0000)], Good),
            Is.EqualTo(new GuestRange(0x4000_0000, 16 << 20)));

    private static void Refuses(string text, OpTeeCompanionOptions options) =>
        Assert.That(options.Validate, Throws.InstanceOf<ArgumentException>().With.Message.Contains(text));
}
