using System.Runtime.CompilerServices;

namespace OpTeeMediator.Diagnostics;

/// <summary>Checks options that have a range.</summary>
internal static class OptionRange
{
    /// <summary>Throws unless the option is within its range; the message names the option and the range.</summary>
    internal static void Check<T>(
        object options, T value, T least, T most, [CallerArgumentExpression(nameof(value))] string property = "")
        where T : IComparable<T>
    {
        if (value.CompareTo(least) < 0 || value.CompareTo(most) > 0)
        {
            throw new ArgumentOutOfRangeException(
                property, value, $"{options.GetType().Name}.{property} must be {least} to {most}.");
        }
    }
}
