using System.Globalization;

namespace OpTeeMediator.Machines.Measurements;

/// <summary>What the program round-trips measured: for each kind of call its fastest and its median
/// time in microseconds.</summary>
public sealed class RoundTripTimes
{
    private readonly Dictionary<string, (double Fastest, double Median)> _times;

    private RoundTripTimes(Dictionary<string, (double Fastest, double Median)> times) => _times = times;

    /// <summary>Reads the program's output.</summary>
    /// <param name="output">Lines <c>NAME FASTEST MEDIAN</c>.</param>
    /// <returns>What it says.</returns>
    public static RoundTripTimes Read(string output) => new(output
        .Split('\n', StringSplitOptions.RemoveEmptyEntries)
        .Select(line => line.Split(' '))
        .ToDictionary(words => words[0], words => (Number(words[1]), Number(words[2]))));

    /// <summary>The better of two measurements of the same.</summary>
    /// <param name="other">The other one.</param>
    /// <returns>The lower times of both.</returns>
    public RoundTripTimes Best(RoundTripTimes other) => new(_times.ToDictionary(
        one => one.Key,
        one => (Math.Min(one.Value.Fastest, other._times[one.Key].Fastest),
            Math.Min(one.Value.Median, other._times[one.Key].Median))));

    /// <summary>How many times as long as another's calls these take.</summary>
    /// <param name="other">The other's.</param>
    /// <param name="name">The kind of call.</param>
    /// <returns>The ratio of the fastest of each: what else runs on this machine disturbs all but those.</returns>
    public double Ratio(RoundTripTimes other, string name) => _times[name].Fastest / other._times[name].Fastest;

    /// <summary>These times beside those of others.</summary>
    /// <param name="name">Where these were measured.</param>
    /// <param name="others">The others', by where they were measured.</param>
    /// <returns>A text, a line for each kind of call.</returns>
    public string Beside(string name, params (string Name, RoundTripTimes Times)[] others) =>
        string.Join('\n', _times.Keys.Select(kind => $"{kind,-12}{string.Join(", ", Cells(name, others, kind))}"));

    private IEnumerable<string> Cells(string name, (string Name, RoundTripTimes Times)[] others, string kind) => others
        .Prepend((name, this))
        .Where(one => one.Item2._times.ContainsKey(kind))
        .Select(one => Cell(one.Item1, one.Item2, kind));

    private string Cell(string name, RoundTripTimes times, string kind) => string.Create(
        CultureInfo.InvariantCulture,
        $"{name} {times._times[kind].Fastest:0} µs (median {times._times[kind].Median:0}, "
        + $"ratio {times.Ratio(this, kind):0.00})");

    private static double Number(string text) => double.Parse(text, CultureInfo.InvariantCulture);
}
