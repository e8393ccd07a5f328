namespace OpTeeMediator.Tests.Documentation;

internal sealed class ReadmeTests
{
    [Test]
    public void Snippet_InReadme_IsTheOneThatCompiles()
    {
        string[] readme = File.ReadAllLines(Path.Combine(AppContext.BaseDirectory, "README.md"));
        string[] source = File.ReadAllLines(Path.Combine(AppContext.BaseDirectory, "ReadmeWiring.cs"));

        Assert.That(Between(readme, "```csharp", "```"), Is.EqualTo(Between(source, "// <README>", "// </README>")));
    }

    private static string[] Between(string[] lines, string first, string last) =>
        [.. lines.Select(line => line.Trim()).SkipWhile(line => line != first).Skip(1).TakeWhile(line => line != last)];
}
