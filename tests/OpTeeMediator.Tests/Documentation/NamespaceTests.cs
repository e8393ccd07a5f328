namespace OpTeeMediator.Tests.Documentation;

/// <summary>The guide's table of namespaces has each type where it is.</summary>
internal sealed class NamespaceTests
{
    [Test]
    public void Table_OfTheGuide_NamesTypesInTheirNamespaces()
    {
        string[][] rows =
        [
            .. Repository.Files.Single(file => file.Path == "docs/guide/README.md").Lines
                .Where(line => line.StartsWith("| `OpTeeMediator.", StringComparison.Ordinal))
                .Select(line => line.Split('`').Where((_, index) => index % 2 == 1).ToArray()),
        ];

        Assert.That(rows, Has.Length.GreaterThan(10));
        Assert.That(
            rows.SelectMany(row => row.Skip(1).Where(type => !IsIn(row[0], type)).Select(type => $"{row[0]}.{type}")),
            Is.Empty);
    }

    private static bool IsIn(string name, string type) => Repository.Files.Any(file =>
        file.Path.StartsWith("src/", StringComparison.Ordinal)
        && file.Path.EndsWith($"/{type}.cs", StringComparison.Ordinal)
        && file.Lines.Contains($"namespace {name};"));
}
