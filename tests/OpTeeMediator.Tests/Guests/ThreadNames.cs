namespace OpTeeMediator.Tests.Guests;

/// <summary>The names of this process's threads, of which Linux keeps 15 characters.</summary>
internal static class ThreadNames
{
    /// <summary>How many threads have a name that begins so.</summary>
    public static int Count(string prefix)
    {
        int count = 0;
        foreach (string directory in Directory.EnumerateDirectories("/proc/self/task"))
        {
            count += ReadName(directory).StartsWith(prefix, StringComparison.Ordinal) ? 1 : 0;
        }

        return count;
    }

    private static string ReadName(string directory)
    {
        try
        {
            return File.ReadAllText(Path.Combine(directory, "comm"));
        }
        catch (IOException)
        {
            // The thread has ended meanwhile.
            return string.Empty;
        }
    }
}
