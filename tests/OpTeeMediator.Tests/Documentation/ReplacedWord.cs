namespace OpTeeMediator.Tests.Documentation;

/// <summary>A word or sentence that this project does not use any more.</summary>
/// <param name="Pattern">A regular expression, sensitive to case.</param>
/// <param name="Instead">What is said instead.</param>
/// <param name="Folders">Where the word means this; everywhere if none is named.</param>
internal sealed record ReplacedWord(string Pattern, string Instead, params string[] Folders)
{
    public bool Concerns(RepositoryFile file) =>
        Folders.Length == 0 || Folders.Any(folder => file.Path.StartsWith(folder, StringComparison.Ordinal));
}
