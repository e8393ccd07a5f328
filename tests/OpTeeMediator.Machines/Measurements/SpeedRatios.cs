using System.Globalization;

namespace OpTeeMediator.Machines.Measurements;

/// <summary>How fast a loop counts beside a call that waits, as part of its speed alone: what the program
/// guest-calls measured.</summary>
/// <param name="Median">The median of the pairs.</param>
/// <param name="Report">All pairs, as a text.</param>
public sealed record SpeedRatios(double Median, string Report)
{
    /// <summary>Reads the program's output.</summary>
    /// <param name="output">A line for each pair, then <c>median RATIO</c>.</param>
    /// <returns>What it says.</returns>
    public static SpeedRatios Read(string output) =>
        new(double.Parse(output[(output.LastIndexOf(' ') + 1)..], CultureInfo.InvariantCulture), output);
}
