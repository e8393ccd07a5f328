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

    // The core's loggers put the name before each entry; others have it in the text, or belong to no VM.
    [Test]
    public void Messages_OfTheProduct_NameTheirVm()
    {
        string[] ofTheServer = ["2640", "2641", "2642"];
        string[] withoutVm =
        [
            .. Sources("src/").Where(file => !file.Path.StartsWith("src/OpTeeMediator/", StringComparison.Ordinal))
                .SelectMany(file => Message().Matches(string.Join('\n', file.Lines)))
                .Where(found => !VmValue().IsMatch(found.Value))
                .Select(found => found.Groups["id"].Value),
        ];

        Assert.That(withoutVm, Is.EqualTo(ofTheServer));
        Assert.That(Loggers("src/OpTeeMediator/").Where(line => !
            line.Contains("= new VmLogger(NonThrowingLogger.", StringComparison.Ordinal)),
            Is.Empty);
        Assert.That(Loggers("src/OpTeeMediator/").Count(), Is.EqualTo(2), "OpTeeGuest and OpTeeForwarder");
    }

    // What belongs to a VM is limited, whatever the level.
    [Test]
    public void Loggers_OfTheProduct_AreLimitedUnlessTheyServeSeveralVms() => Assert.That(
        Loggers("src/").Where(line => !line.Contains("NonThrowingLogger.CreateForVm", StringComparison.Ordinal)),
        Is.EquivalentTo(
        [
            "_log = NonThrowingLogger.Create<TeeServer>(options.LoggerFactory);",
            "ILogger log = NonThrowingLogger.Create(loggerFactory, typeof(TeeWorker).FullName!);",
            "machine.LoggerFactory.CreateLogger<EngineLauncher>(), machine.Name));",
        ]));

    private static IEnumerable<string> Loggers(string folder) => Sources(folder)
        .Where(file => !file.Path.StartsWith("src/OpTeeMediator/Diagnostics/", StringComparison.Ordinal))
        .SelectMany(file => file.Lines)
        .Where(line => LoggerCreation().IsMatch(line))
        .Select(line => line.Trim());

    private static IEnumerable<RepositoryFile> Sources(string folder) => Repository.Files.Where(file =>
        file.Path.StartsWith(folder, StringComparison.Ordinal)
        && file.Path.EndsWith(".cs", StringComparison.Ordinal));

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

    [GeneratedRegex(@"\{(VirtualMachine|Name|Partition)\}")]
    private static partial Regex VmValue();

    [GeneratedRegex(@"NonThrowingLogger\.Create|\.CreateLogger[<(]")]
    private static partial Regex LoggerCreation();

    [GeneratedRegex(
        @"\[LoggerMessage\(\s*(EventId = )?(?<id>\d+)(,\s*(Level = )?LogLevel\.(?<level>\w+))?"
            + @".*?partial void (?<name>\w+)\(",
        RegexOptions.Singleline)]
    private static partial Regex Message();
}
