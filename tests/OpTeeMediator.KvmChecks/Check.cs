namespace OpTeeMediator.KvmChecks;

/// <summary>What the checks expect.</summary>
internal static class Check
{
    /// <summary>Expects a value.</summary>
    public static void Equal<T>(string what, T expected, T found)
    {
        if (!EqualityComparer<T>.Default.Equals(expected, found))
        {
            throw new CheckFailedException($"{what}: expected {expected}, found {found}");
        }
    }
}
