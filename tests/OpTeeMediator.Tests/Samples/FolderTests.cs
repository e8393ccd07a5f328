using KvmVmm.Saving;

namespace OpTeeMediator.Tests.Samples;

[TestFixture]
internal sealed class FolderTests
{
    [Test]
    public void FlushEntry_FileInAFolder_IsFlushed()
    {
        DirectoryInfo folder = Directory.CreateTempSubdirectory();
        string file = Path.Combine(folder.FullName, "state");
        File.WriteAllText(file, "");

        Assert.That(() => Folder.FlushEntry(file), Throws.Nothing);
        folder.Delete(recursive: true);
    }

    [Test]
    public void FlushEntry_FolderIsMissing_ThrowsWithItsName() => Assert.That(
        () => Folder.FlushEntry("/no-such-folder/state"),
        Throws.TypeOf<IOException>().With.Message.Contains("/no-such-folder cannot be opened: No such file"));
}
