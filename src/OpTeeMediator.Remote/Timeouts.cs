using OpTeeMediator.Diagnostics;

namespace OpTeeMediator.Remote;

/// <summary>Checks options that are times.</summary>
internal static class Timeouts
{
    private static readonly TimeSpan Least = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan Most = TimeSpan.FromMinutes(10);

    /// <summary>Throws unless the time is within the range that all of them have.</summary>
    public static void Check(string options, string property, TimeSpan value) =>
        OptionRange.Check(options, property, value, Least, Most);
}
