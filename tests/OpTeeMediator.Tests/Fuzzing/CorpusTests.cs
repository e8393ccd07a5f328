using OpTeeMediator.Fuzzing;
using OpTeeMediator.Fuzzing.Engine;
using OpTeeMediator.Tests.Documentation;

namespace OpTeeMediator.Tests.Fuzzing;

/// <summary>All inputs that fuzzing has kept, without instrumentation.</summary>
internal sealed class CorpusTests
{
    private static string CorpusFolder => Path.Combine(Repository.Root, "tests", "fuzz", "corpus");

    [TestCaseSource(typeof(FuzzTargets), nameof(FuzzTargets.Names))]
    public void Execute_CorpusAndSeeds_AllPropertiesHold(string name)
    {
        FuzzTarget target = FuzzTargets.Create(name);
        string[] files = Directory.GetFiles(Path.Combine(CorpusFolder, name));

        Assert.That(files, Is.Not.Empty);
        Assert.Multiple(() =>
        {
            foreach (string file in files)
            {
                Assert.That(() => target.Execute(File.ReadAllBytes(file)), Throws.Nothing, Path.GetFileName(file));
            }

            foreach (byte[] seed in target.Seeds)
            {
                Assert.That(() => target.Execute(seed), Throws.Nothing, () => Convert.ToHexString(seed));
            }
        });
    }

    [Test]
    public void Corpus_Folders_AreThoseOfTheTargets() => Assert.That(
        Directory.GetDirectories(CorpusFolder).Select(Path.GetFileName), Is.EquivalentTo(FuzzTargets.Names));
}
