using System.Text.RegularExpressions;

namespace OpTeeMediator.Tests.Documentation;

/// <summary>What docs/trust-model.md promises is tested, and every limit is reached by a test.</summary>
internal sealed partial class TrustModelTests
{
    private const string TestsColumn = "tests";

    // Properties with a number that do not limit what a guest or a peer may do.
    private static readonly string[] NotLimits =
    [
        "MappedGuestMemoryOptions.MappingGranule",
        "MemfdGuestMemoryOptions.HugePageSize",
    ];

    private static readonly IReadOnlyList<RepositoryFile> Sources = [.. Repository.Files.Where(file => file.IsCode)];

    private static readonly IReadOnlyList<string> Page =
        Repository.Files.Single(file => file.Path == "docs/trust-model.md").Lines;

    [Test]
    public void EveryPromise_NamesItsTests() => Assert.That(
        Tables().Where(table => table.Header[0].EndsWith(" tries", StringComparison.Ordinal)
                || table.Header[0] is "attack" or "limit")
            .SelectMany(table => table.Rows.Where(row => table.Header[^1] != TestsColumn
                || row.Length != table.Header.Length || !Quoted().IsMatch(row[^1])))
            .Select(row => row[0]),
        Is.Empty);

    [Test]
    public void EveryTestNamed_Exists() => Assert.That(NamedTests().Where(name => !IsTest(name)), Is.Empty);

    [Test]
    public void Promises_OfEachWay_AreThere()
    {
        Assert.That(
            Tables().Count(table => table.Header[0].EndsWith(" tries", StringComparison.Ordinal)), Is.EqualTo(4));
        Assert.That(NamedTests().Count(), Is.GreaterThan(80));
    }

    [Test]
    public void EveryLimitOfTheOptions_HasATestThatReachesIt() =>
        Assert.That(LimitsOfOptions().Except(Limits()).Except(NotLimits), Is.Empty);

    [Test]
    public void EveryLimitNamed_IsInTheCode() => Assert.That(Limits().Where(name => !IsMember(name)), Is.Empty);

    [Test]
    public void LimitsOfOptions_OfTheSources_AreFound()
    {
        Assert.That(LimitsOfOptions(), Does.Contain("OpTeeLimits.Calls").And.Contain("TeeServerOptions.SendTimeout"));
        Assert.That(NotLimits.Except(LimitsOfOptions()), Is.Empty);
    }

    [TestCase("FloodTests", true)]
    [TestCase("DeathTests.ResetAsync_AtAPoint_NothingIsLeftAndANewDriverAndOthersGoOn", true)]
    [TestCase("DeathTests.AssertNothingIsLeft", false)]
    [TestCase("DeathTests.NoSuchTest", false)]
    [TestCase("DyingCall", false)]
    [TestCase("NoSuchTests", false)]
    public void IsTest_OfAName_SaysWhetherItIsOne(string name, bool expected) =>
        Assert.That(IsTest(name), Is.EqualTo(expected));

    /// <summary>The options with a number or a time, and the limits, of all projects.</summary>
    private static IEnumerable<string> LimitsOfOptions() =>
        from file in Sources
        where file.Path.StartsWith("src/", StringComparison.Ordinal)
        let type = Path.GetFileNameWithoutExtension(file.Path)
        where type.EndsWith("Options", StringComparison.Ordinal) || type.EndsWith("Limits", StringComparison.Ordinal)
        from line in file.Lines
        let property = NumericOption().Match(line)
        where property.Success
        select $"{type}.{property.Groups["name"].Value}";

    private static IEnumerable<string> Limits() => Tables().Single(table => table.Header[0] == "limit").Rows
        .SelectMany(row => Quoted().Matches(row[0])).Select(match => match.Groups["name"].Value);

    private static IEnumerable<string> NamedTests() => Tables().Where(table => table.Header[^1] == TestsColumn)
        .SelectMany(table => table.Rows).SelectMany(row => Quoted().Matches(row[^1]))
        .Select(match => match.Groups["name"].Value).Distinct();

    /// <summary>Whether a class has tests; or a method of it, which is named after a point, is one.</summary>
    private static bool IsTest(string name)
    {
        string[] parts = name.Split('.');
        return FilesOf("tests/", parts[0]).Any(file => parts.Length == 1
            ? file.Lines.Any(line => TestAttribute().IsMatch(line))
            : file.Lines.Index().Any(line => Regex.IsMatch(line.Item, $@"^    public .*\b{parts[1]}\(")
                && file.Lines.Take(line.Index).Reverse().TakeWhile(before => before.Length > 0)
                    .Any(before => TestAttribute().IsMatch(before))));
    }

    private static bool IsMember(string name)
    {
        string[] parts = name.Split('.');
        return FilesOf("src/", parts[0])
            .Any(file => file.Lines.Any(line => Regex.IsMatch(line, $@"\b{parts[1]}( = | \{{ get)")));
    }

    private static IEnumerable<RepositoryFile> FilesOf(string folder, string type) => Sources.Where(file =>
        file.Path.StartsWith(folder, Ordinal) && file.Path.EndsWith($"/{type}.cs", Ordinal));

    private static StringComparison Ordinal => StringComparison.Ordinal;

    private static IEnumerable<(string[] Header, string[][] Rows)> Tables()
    {
        for (int line = 0; line < Page.Count; line++)
        {
            string[][] rows = [.. Page.Skip(line).TakeWhile(row => row.StartsWith('|')).Select(CellsOf)];
            if (rows.Length > 0)
            {
                // The second line is a ruler.
                yield return (rows[0], rows[2..]);
                line += rows.Length;
            }
        }
    }

    private static string[] CellsOf(string row) => [.. row.Trim().Trim('|').Split('|').Select(cell => cell.Trim())];

    [GeneratedRegex(@"`(?<name>[A-Za-z0-9_.]+)`")]
    private static partial Regex Quoted();

    [GeneratedRegex(@"\[Test(Case|CaseSource|Fixture)?[\](]")]
    private static partial Regex TestAttribute();

    [GeneratedRegex(@"public (int|long|TimeSpan) (?<name>\w+) \{ get; init; \}")]
    private static partial Regex NumericOption();
}
