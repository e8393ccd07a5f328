namespace OpTeeMediator.Tests.Documentation;

/// <summary>A line of a text that people write has at most 120 columns.</summary>
/// <remarks>
/// Exempt are tables in Markdown, whose rows cannot be broken, lines that are one word (an address, say), recorded
/// traffic, what programs write, and the change log, which is a list for readers of releases.
/// </remarks>
internal sealed class LineLengthTests
{
    private const int Columns = 120;

    [Test]
    public void Lines_OfAllTexts_HaveAtMost120Columns()
    {
        string[] found = [.. Repository.Files.SelectMany(file => file.Where(line => IsTooLong(file, line)))];

        Assert.That(found, Is.Empty, () => string.Join('\n', found));
    }

    private static bool IsTooLong(RepositoryFile file, string line) =>
        file.Path != "CHANGELOG.md" && line.Length > Columns && line.Trim().Contains(' ')
        && !(file.IsMarkdown && line.StartsWith('|'));
}
