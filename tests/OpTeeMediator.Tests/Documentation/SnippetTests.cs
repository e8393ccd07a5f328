namespace OpTeeMediator.Tests.Documentation;

/// <summary>The C# of the README, of docs and of the packages' pages is that of the project ReadmeSnippets, which
/// compiles it.</summary>
internal sealed class SnippetTests
{
    private const string Sources = "tests/OpTeeMediator.ReadmeSnippets/";

    /// <summary>The README's complete program is a whole file.</summary>
    private const string Program = Sources + "Program.cs";

    private static readonly IReadOnlyList<RepositoryFile> Pages = [.. Repository.Files.Where(file =>
        file.Path == "README.md"
        || (file.Path.StartsWith("docs/", StringComparison.Ordinal) && file.IsMarkdown)
        || (file.Path.StartsWith("src/", StringComparison.Ordinal) && file.IsMarkdown))];

    private static readonly HashSet<string> Compiled = [.. Repository.Files
        .Where(file => file.Path.StartsWith(Sources, StringComparison.Ordinal) && file.IsCode)
        .SelectMany(file => file.Path == Program
            ? [Join(file.Lines)]
            : Blocks(file, "// <snippet>", "// </snippet>"))];

    [TestCaseSource(nameof(PagesWithCode))]
    public void CSharp_InAPage_IsThatOfTheSourcesThatCompile(string path) => Assert.That(
        Blocks(Pages.Single(page => page.Path == path), "```csharp", "```").Where(block => !Compiled.Contains(block)),
        Is.Empty);

    [Test]
    public void Snippets_OfTheSources_AreInPages() => Assert.That(
        Compiled.Except(Pages.SelectMany(page => Blocks(page, "```csharp", "```"))), Is.Empty);

    private static IEnumerable<string> PagesWithCode() => Pages.Select(page => page.Path);

    private static List<string> Blocks(RepositoryFile file, string first, string last)
    {
        List<string> blocks = [];
        List<string>? block = null;
        foreach (string line in file.Lines)
        {
            if (block is null)
            {
                block = line.Trim() == first ? [] : null;
            }
            else if (line.Trim() == last)
            {
                blocks.Add(Join(block));
                block = null;
            }
            else
            {
                block.Add(line);
            }
        }

        return blocks;
    }

    private static string Join(IEnumerable<string> lines) =>
        string.Join('\n', lines.Select(line => line.Trim())).Trim();
}
