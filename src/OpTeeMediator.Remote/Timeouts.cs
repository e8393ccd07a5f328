using System.Runtime.CompilerServices;
using OpTeeMediator.Diagnostics;

namespace OpTeeMediator.Remote;

/// <summary>Checks options that are times.</summary>
internal static class Timeouts
{
    private static readonly TimeSpan Least = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan Most = TimeSpan.FromMinutes(10);

    /// <summary>Throws unless the time is within the range that all of them have.</summary>
    public static void Check(
        object options, TimeSpan value, [CallerArgumentExpression(nameof(value))] string property = "") =>
        OptionRange.Check(options, value, Least, Most, property);
}
