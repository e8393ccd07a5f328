using OpTeeMediator.Benchmarks.History;
using OpTeeMediator.Benchmarks.Plots;

namespace OpTeeMediator.BenchmarkTests;

/// <summary>The pictures of docs/plots show what benchmarks/history has.</summary>
[TestFixture]
public class PlotTests
{
    private static readonly string s_repository = FindRepository();

    [Test]
    public void Draw_RecordsOfTheHistory_GivesThePicturesOfTheDocuments()
    {
        string plots = Path.Combine(s_repository, "docs", "plots");
        Dictionary<string, string> drawn =
            BenchmarkPlots.Draw(HistoryFolder.Read(Path.Combine(s_repository, "benchmarks", "history")));
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

    private static string FindRepository()
    {
        string? folder = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(folder!, "OpTeeMediator.sln")))
        {
            folder = Path.GetDirectoryName(folder);
        }

        return folder!;
    }
}
