namespace OpTeeMediator.Tests.Documentation;

/// <summary>The texts of the repository that the tests run in.</summary>
/// <remarks>
/// Found from where the tests lie, because a deterministic build does not tell where its sources were.
/// </remarks>
internal static class Repository
{
    private static readonly string[] Folders = [".ci", "benchmarks", "docs", "samples", "src", "templates", "tests"];
    private static readonly string[] OutputFolders = ["bin", "obj", "TestResults"];

    /// <summary>Written by programs: they are not held to the rules for texts.</summary>
    private static readonly string[] Generated =
    [
        "docs/COMPATIBILITY.md", "docs/PARITY.md", "PublicAPI.Shipped.txt", "PublicAPI.Unshipped.txt",
    ];

    private static readonly Lazy<IReadOnlyList<RepositoryFile>> AllFiles = new(() => [.. Read()]);

    /// <summary>All texts that people write.</summary>
    public static IReadOnlyList<RepositoryFile> Files => AllFiles.Value;

    public static string Root { get; } = FindRoot();

    private static string FindRoot()
    {
        DirectoryInfo? folder = new(AppContext.BaseDirectory);
        while (folder is not null && !File.Exists(Path.Combine(folder.FullName, "OpTeeMediator.sln")))
        {
            folder = folder.Parent;
        }

        return folder?.FullName
            ?? throw new DirectoryNotFoundException($"Found no OpTeeMediator.sln above {AppContext.BaseDirectory}.");
    }

    private static IEnumerable<RepositoryFile> Read() =>
        Directory.EnumerateFiles(Root, "*.md").Concat(Folders.SelectMany(folder => Within(Path.Combine(Root, folder))))
            .Where(IsText)
            .Select(path => new RepositoryFile(Relative(path), File.ReadAllLines(path)));

    private static IEnumerable<string> Within(string folder) => Directory.EnumerateFiles(folder)
        .Concat(Directory.EnumerateDirectories(folder)
            .Where(inner => !OutputFolders.Contains(Path.GetFileName(inner)))
            .SelectMany(Within));

    private static string Relative(string path) => Path.GetRelativePath(Root, path).Replace('\\', '/');

    // Scripts have no extension.
    private static bool IsText(string path) =>
        Path.GetExtension(path) is ".cs" or ".md" or ".sh" or ".c" or ".h" or ".S" or ".ld" or ".props" or ""
        && !Generated.Any(generated => Relative(path).EndsWith(generated, StringComparison.Ordinal));
}
