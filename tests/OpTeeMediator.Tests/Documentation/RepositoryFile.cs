namespace OpTeeMediator.Tests.Documentation;

/// <param name="Path">Relative to the repository's root, with slashes.</param>
/// <param name="Lines">The text.</param>
internal sealed record RepositoryFile(string Path, IReadOnlyList<string> Lines)
{
    public bool IsMarkdown => Path.EndsWith(".md", StringComparison.Ordinal);

    public bool IsCode => Path.EndsWith(".cs", StringComparison.Ordinal);

    /// <summary>Names the lines for which a condition holds, as an editor finds them.</summary>
    public IEnumerable<string> Where(Func<string, bool> condition) =>
        Lines.Index().Where(line => condition(line.Item)).Select(
            line => $"{Path}:{line.Index + 1}: {line.Item.Trim()}");
}
