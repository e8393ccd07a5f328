using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Tests.Companion;

[TestFixture]
internal sealed class OpTeeImageTests
{
    private const uint High = 0;
    private const uint Low = 0x0e10_0000;

    private static readonly byte[] Code = [.. Enumerable.Range(0, 40).Select(index => (byte)index)];

    [Test]
    public void Load_Raw_DoesNotSayWhereItBelongs()
    {
        OpTeeImage image = ImageFiles.Raw(Code);

        Assert.That((image.Address, image.Length), Is.EqualTo(((GuestAddress?)null, Code.Length)));
        Assert.That(image.Content, Is.EqualTo(Code));
    }

    [Test]
    public void Load_OneFileWithHeader_GivesTheImageAfterIt()
    {
        OpTeeImage image = ImageFiles.Load(
            ("tee.bin", [.. ImageFiles.Header(1, 1, (uint)Code.Length, 1, Low, 0x10_0000, 0), .. Code]));

        Assert.That(image.Address, Is.EqualTo(new GuestAddress(0x1_0e10_0000)));
        Assert.That(image.Content, Is.EqualTo(Code));
    }

    [Test]
    public void Load_HeaderBesideImage_GivesTheImage()
    {
        OpTeeImage image = ImageFiles.Load(("tee-header_v2.bin",
            ImageFiles.Header(2, 1, 1, High, Low, 0, (uint)Code.Length)), ("tee-pager_v2.bin", Code));

        Assert.That(image.Address, Is.EqualTo(new GuestAddress(Low)));
        Assert.That(image.Content, Is.EqualTo(Code));
    }

    [Test]
    public void Load_WithPageablePart_NamesTheBuildOption() =>
        Refuses("CFG_WITH_PAGER=n",
            ("tee.bin", [.. ImageFiles.Header(1, 1, (uint)Code.Length, High, Low, 0, 4096), .. Code]));

    [Test]
    public void Load_HeaderOfTwoImages_NamesTheBuildOption() =>
        Refuses("CFG_WITH_PAGER=n", ("tee-header_v2.bin", ImageFiles.Header(2, 1, 2, High, Low, 0, 40)),
            ("tee-pager_v2.bin", Code));

    [Test]
    public void Load_HeaderOfAnotherBuild_SaysSo() =>
        Refuses("not of the same build", ("tee-header_v2.bin", ImageFiles.Header(2, 1, 1, High, Low, 0, 41)),
            ("tee-pager_v2.bin", Code));

    [Test]
    public void Load_Elf_NamesTheFilesToUse() =>
        Refuses("tee.bin", ("tee.elf", [0x7f, (byte)'E', (byte)'L', (byte)'F', .. Code]));

    [Test]
    public void Load_Of32Bits_SaysSo() =>
        Refuses("names architecture 0", ("tee.bin", [.. ImageFiles.Header(1, 0, 40, High, Low, 0, 0), .. Code]));

    [TestCase(0u)]
    [TestCase(41u)]
    [TestCase(uint.MaxValue)]
    public void Load_FileShorterThanItsHeader_SaysSo(uint size) =>
        Refuses("promises", ("tee.bin", [.. ImageFiles.Header(1, 1, size, High, Low, 0, 0), .. Code]));

    [TestCase(0)]
    [TestCase(5)]
    [TestCase(27)]
    public void Load_TooShort_SaysSo(int length) =>
        Refuses($"{length} bytes", ("tee.bin", [.. ImageFiles.Header(1, 1, 40, High, Low, 0, 0).Take(length)]));

    [Test]
    public void Load_NoFile_Throws() =>
        Assert.That(() => OpTeeImage.Load("/nowhere/tee.bin"), Throws.InstanceOf<IOException>());

    private static void Refuses(string reason, params (string Name, byte[] Content)[] files) =>
        Assert.That(() => ImageFiles.Load(files), Throws.InstanceOf<InvalidDataException>()
            .With.Message.Contains(reason));
}
