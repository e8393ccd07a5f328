namespace OpTeeMediator.BenchmarkTests;

/// <summary>The files of the repository.</summary>
internal static class Repository
{
    /// <summary>Its root.</summary>
    public static string Folder { get; } = Find();

    private static string Find()
    {
        string? folder = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(folder!, "OpTeeMediator.sln")))
        {
            folder = Path.GetDirectoryName(folder);
        }

        return folder!;
    }
}
