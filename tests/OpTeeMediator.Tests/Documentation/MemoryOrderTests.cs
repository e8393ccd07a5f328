using System.Text.RegularExpressions;

namespace OpTeeMediator.Tests.Documentation;

/// <summary>docs/memory-order.md has an argument for each field that threads share without a lock, and for each full
/// fence.</summary>
internal sealed partial class MemoryOrderTests
{
    private static readonly RepositoryFile Page =
        Repository.Files.Single(file => file.Path == "docs/memory-order.md");

    private static readonly (string Type, string Code)[] Sources =
    [
        .. Repository.Files
            .Where(file => file.IsCode && file.Path.StartsWith("src/", StringComparison.Ordinal))
            .Select(file => (TypeOf(file), string.Join('\n', file.Lines.Where(line => !IsComment(line))))),
    ];

    [Test]
    public void Fields_SharedWithoutALock_HaveAnArgument()
    {
        string[] fields =
        [
            .. Sources.SelectMany(source => Shared().Matches(source.Code)
                .Select(match => $"{source.Type}.{match.Groups["name"].Value}"))
                .Distinct(),
        ];
        string[] argued = [.. Cells(0).SelectMany(cell => Name().Matches(cell)).Select(match => match.Groups[1].Value)];

        Assert.That(fields, Has.Length.GreaterThan(100));
        using (Assert.EnterMultipleScope())
        {
            Assert.That(fields.Except(argued), Is.Empty, "These need an argument in docs/memory-order.md.");
            Assert.That(argued.Except(fields), Is.Empty, "These are not shared in this way any more.");
            Assert.That(argued, Is.Unique);
        }
    }

    [Test]
    public void Fences_OfEachType_HaveAnArgument()
    {
        string[] fences =
        [
            .. Sources.Select(source => (source.Type, Count: Fence().Count(source.Code)))
                .Where(type => type.Count > 0)
                .Select(type => $"`{type.Type}` {type.Count}"),
        ];
        string[] argued = [.. Cells(0).Zip(Cells(1), (type, count) => $"{type} {count}").Where(IsFenceRow)];

        Assert.That(argued, Is.EquivalentTo(fences));
    }

    private static IEnumerable<string> Cells(int column) => Page.Lines
        .Where(line => line.StartsWith("| `", StringComparison.Ordinal))
        .Select(line => line.Split('|')[column + 1].Trim());

    private static bool IsFenceRow(string cells) => FenceRow().IsMatch(cells);

    private static string TypeOf(RepositoryFile file) => Path.GetFileNameWithoutExtension(file.Path).Split('.')[0];

    private static bool IsComment(string line) => line.TrimStart().StartsWith("//", StringComparison.Ordinal);

    [GeneratedRegex(
        @"\bvolatile\s+[\w?<>\[\],.]+\s+(?<name>\w+)"
            + @"|\b(Volatile|Interlocked)\.\w+(<[^>]*>)?\(\s*(ref|in)\s+(\w+\.)*(?<name>\w+)")]
    private static partial Regex Shared();

    [GeneratedRegex(@"\bMemoryBarrier\w*\(")]
    private static partial Regex Fence();

    [GeneratedRegex(@"`((?!Volatile|Interlocked)[A-Z]\w*\.\w+)`")]
    private static partial Regex Name();

    [GeneratedRegex(@"^`\w+` \d+$")]
    private static partial Regex FenceRow();
}
