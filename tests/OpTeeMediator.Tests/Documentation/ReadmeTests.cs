namespace OpTeeMediator.Tests.Documentation;

internal sealed class ReadmeTests
{
    [Test]
    public void CSharpSnippets_InReadme_AreThoseThatCompile()
    {
        string[] sources = ["Wiring.cs", "Forwarding.cs", "Companion.cs"];
        string[][] compiled = [.. sources
            .Select(source => Blocks(Path.Combine("ReadmeSnippets", source), "// <README>", "// </README>").Single())];

        Assert.That(Blocks("README.md", "```csharp", "```"), Is.EqualTo(compiled));
    }

    private static List<string[]> Blocks(string path, string first, string last)
    {
        List<string[]> blocks = [];
        List<string>? block = null;
        foreach (string line in File.ReadLines(Path.Combine(AppContext.BaseDirectory, path))
            .Select(line => line.Trim()))
        {
            if (block is null)
            {
                block = line == first ? [] : null;
            }
            else if (line == last)
            {
                blocks.Add([.. block]);
                block = null;
            }
            else
            {
                block.Add(line);
            }
        }

        return blocks;
    }
}
