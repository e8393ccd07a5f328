using System.Text.RegularExpressions;

namespace OpTeeMediator.Tests.Documentation;

/// <summary>Names of code in the pages are those of the code: a page that speaks of what
/// was renamed is found.</summary>
internal sealed partial class NameTests
{
    // Names of other programs, of .NET's classes that applications use, and of what was tried, by pages that say so.
    private static readonly string[] Foreign =
    [
        "Restart=always",
        "ECDiffieHellman",
        "ECDsa",
        "IncrementalHash",
        "IncrementalHash.CreateHMAC",
        "IsSupported",
        "Rfc2898DeriveBytes.Pbkdf2",
        "Shake128",
        "TripleDES",
    ];

    private static readonly IReadOnlyList<RepositoryFile> Sources = [.. Repository.Files.Where(file => file.IsCode)];

    private static readonly ILookup<string, RepositoryFile> Types = Sources
        .SelectMany(file => file.Lines.SelectMany(line => Declaration().Matches(line))
            .Select(match => (Name: match.Groups["name"].Value, File: file)))
        .ToLookup(type => type.Name, type => type.File);

    private static readonly HashSet<string> Identifiers = [.. Sources
        .SelectMany(file => file.Lines)
        .Where(line => !line.TrimStart().StartsWith("//", StringComparison.Ordinal))
        .SelectMany(line => Identifier().Matches(line))
        .Select(match => match.Value)];

    [TestCaseSource(nameof(Pages))]
    public void Names_InAPage_AreThoseOfTheCode(string path) => Assert.That(
        Quoted().Matches(string.Join('\n', Repository.Files.Single(file => file.Path == path).Lines))
            .Select(match => match.Groups["name"].Value)
            .Where(name => !Foreign.Contains(name) && !Exists(name))
            .Distinct(),
        Is.Empty);

    private static IEnumerable<string> Pages() => Repository.Files
        .Where(file => file.IsMarkdown && file.Path is not "CHANGELOG.md")
        .Select(file => file.Path);

    private static bool Exists(string name)
    {
        if (name.EndsWith(".cs", StringComparison.Ordinal))
        {
            return Sources.Any(file => $"/{file.Path}".EndsWith($"/{name}", StringComparison.Ordinal));
        }

        if (PathName().IsMatch(name))
        {
            return Path.Exists(Path.Combine(Repository.Root, name))
                || Path.Exists(Path.Combine(Repository.Root, "tests/machines", name))
                || Sources.Any(file => $"/{file.Path}".EndsWith($"/{name}.cs", StringComparison.Ordinal))
                || Sources.Any(file => $"/{file.Path}".Contains($"/{name.TrimEnd('/')}/", StringComparison.Ordinal));
        }

        string[] parts = name.Split('.');
        return !parts.All(part => PascalCase().IsMatch(part))
            || Directory.Exists(Path.Combine(Repository.Root, "src", name))
            || Directory.Exists(Path.Combine(Repository.Root, "tests", name))
            || (parts.Length == 1 ? Identifiers.Contains(name) : HasMember(parts[^2], parts[^1]));
    }

    // Or a member of a type that is not declared here, which the code uses.
    private static bool HasMember(string type, string member) => Types.Contains(type)
        ? Types[type].Any(file => file.Lines.Any(line => Regex.IsMatch(line, $@"\b{member}\b")))
        : Identifiers.Contains(type) && Identifiers.Contains(member);

    [GeneratedRegex(@"`(?<name>[^`\s(]+)(\([^`]*\))?`")]
    private static partial Regex Quoted();

    [GeneratedRegex(@"^[A-Z][a-zA-Z0-9]*[a-z][a-zA-Z0-9]*$")]
    private static partial Regex PascalCase();

    [GeneratedRegex(@"^(src|tests|samples|benchmarks|docs|[A-Z][A-Za-z]+)/[\w./-]*$")]
    private static partial Regex PathName();

    [GeneratedRegex(@"\b(class|struct|interface|enum|record)\s+(struct\s+)?(?<name>[A-Z]\w*)")]
    private static partial Regex Declaration();

    [GeneratedRegex(@"\b[A-Z]\w*")]
    private static partial Regex Identifier();
}
