using System.Text.RegularExpressions;

namespace OpTeeMediator.Tests.Documentation;

/// <summary>Links from one page to another lead somewhere.</summary>
internal sealed partial class LinkTests
{
    private static readonly Dictionary<string, RepositoryFile> Pages =
        Repository.Files.Where(file => file.IsMarkdown).ToDictionary(file => file.Path);

    [TestCaseSource(nameof(PagesWithLinks))]
    public void Links_OfAPage_LeadToFilesAndHeadings(string path) => Assert.That(
        Link().Matches(string.Join('\n', Pages[path].Lines)).Select(link => link.Groups["target"].Value)
            .Where(target => !target.Contains("://", StringComparison.Ordinal) && !Exists(path, target)),
        Is.Empty);

    private static IEnumerable<string> PagesWithLinks() => Pages.Keys.Order();

    private static bool Exists(string from, string target)
    {
        string[] parts = target.Split('#');
        string folder = Path.GetDirectoryName(Path.Combine(Repository.Root, from))!;
        string path = parts[0].Length == 0
            ? from
            : Path.GetRelativePath(Repository.Root, Path.GetFullPath(Path.Combine(folder, parts[0])));
        return Path.Exists(Path.Combine(Repository.Root, path))
            && (parts.Length == 1 || (Pages.TryGetValue(path, out RepositoryFile? page) && HasHeading(page, parts[1])));
    }

    private static bool HasHeading(RepositoryFile page, string anchor) =>
        page.Lines.Any(line => line.StartsWith('#') && AnchorOf(line) == anchor);

    // As GitHub makes it: small letters, hyphens for spaces, and no other punctuation.
    private static string AnchorOf(string heading) => string.Concat(heading.TrimStart('#').Trim()
        .Where(letter => char.IsLetterOrDigit(letter) || letter is ' ' or '-' or '_')
        .Select(letter => letter == ' ' ? '-' : char.ToLowerInvariant(letter)));

    [GeneratedRegex(@"\]\((?<target>[^)\s]+)\)")]
    private static partial Regex Link();
}
