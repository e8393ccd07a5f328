using System.Text.RegularExpressions;

namespace OpTeeMediator.Tests.Documentation;

/// <summary>Code and texts use the field's terms.</summary>
internal sealed class WordTests
{
    // The list itself, and the record of what was renamed.
    private static readonly string[] Exempt =
    [
        "tests/OpTeeMediator.Tests/Documentation/ReplacedWords.cs", "CHANGELOG.md",
    ];

    [TestCaseSource(nameof(Patterns))]
    public void Texts_AnyFile_DoNotUseAReplacedWord(string pattern)
    {
        ReplacedWord word = ReplacedWords.All.Single(one => one.Pattern == pattern);
        Regex regex = new(pattern, RegexOptions.CultureInvariant);
        string[] found = [.. Repository.Files
            .Where(file => !Exempt.Contains(file.Path) && word.Concerns(file))
            .SelectMany(file => file.Where(regex.IsMatch))];

        Assert.That(found, Is.Empty, () => $"Say instead: {word.Instead}\n{string.Join('\n', found)}");
    }

    private static IEnumerable<string> Patterns() => ReplacedWords.All.Select(word => word.Pattern);
}
