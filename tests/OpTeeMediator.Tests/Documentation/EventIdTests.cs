using System.Text.RegularExpressions;

namespace OpTeeMediator.Tests.Documentation;

/// <summary>The table of log entries in docs/diagnostics.md is that of the sources.</summary>
internal sealed partial class EventIdTests
{
    [Test]
    public void Table_OfEventIds_HasEveryMessageOfTheProduct()
    {
        string[] messages = [.. Messages().Order()];

        Assert.That(messages, Has.Length.GreaterThan(80));
        Assert.That(Rows(), Is.EqualTo(messages));
    }

    [Test]
    public void EventIds_OfTheProduct_AreGivenOnce() => Assert.That(Messages().Select(row => row[..4]), Is.Unique);

    private static IEnumerable<string> Rows() => Row()
        .Matches(string.Join('\n', Repository.Files.Single(file => file.Path == "docs/diagnostics.md").Lines))
        .Select(row => $"{row.Groups["id"]} {row.Groups["level"]} {row.Groups["name"]}");

    private static IEnumerable<string> Messages() => Repository.Files
        .Where(file => file.Path.StartsWith("src/", StringComparison.Ordinal))
        .SelectMany(file => Message().Matches(string.Join('\n', file.Lines)))
        .Select(found => $"{found.Groups["id"]} {LevelOf(found)} {found.Groups["name"]}");

    private static string LevelOf(Match found) => found.Groups["level"] is { Success: true, Value: string level }
        ? level : "any";

    [GeneratedRegex(@"^\| (?<id>\d{4}) \| (?<level>\w+) \| (?<name>\w+) \|", RegexOptions.Multiline)]
    private static partial Regex Row();

    [GeneratedRegex(
        @"\[LoggerMessage\(\s*(EventId = )?(?<id>\d+)(,\s*(Level = )?LogLevel\.(?<level>\w+))?"
            + @".*?partial void (?<name>\w+)\(",
        RegexOptions.Singleline)]
    private static partial Regex Message();
}
