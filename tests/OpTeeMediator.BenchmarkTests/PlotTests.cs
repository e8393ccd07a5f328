using OpTeeMediator.Benchmarks.History;
using OpTeeMediator.Benchmarks.Plots;

namespace OpTeeMediator.BenchmarkTests;

/// <summary>The pictures of docs/plots show what benchmarks/history has.</summary>
[TestFixture]
public class PlotTests
{
    [Test]
    public void Draw_RecordsOfTheHistory_GivesThePicturesOfTheDocuments()
    {
        string plots = Path.Combine(Repository.Folder, "docs", "plots");
        Dictionary<string, string> drawn =
            BenchmarkPlots.Draw(HistoryFolder.Read(Path.Combine(Repository.Folder, "benchmarks", "history")));
        using (Assert.EnterMultipleScope())
        {
            Assert.That(
                Directory.EnumerateFiles(plots).Select(Path.GetFileName), Is.EquivalentTo(drawn.Keys),
                "docs/plots has other files than benchmarks --plot writes.");
            foreach ((string name, string picture) in drawn)
            {
                Assert.That(
                    File.ReadAllText(Path.Combine(plots, name)), Is.EqualTo(picture),
                    $"{name}: dotnet run -c Release --project benchmarks/OpTeeMediator.Benchmarks -- "
                        + "--plot benchmarks/history docs/plots");
            }
        }
    }
}
