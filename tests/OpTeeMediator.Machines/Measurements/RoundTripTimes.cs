using System.Globalization;

namespace OpTeeMediator.Machines.Measurements;

/// <summary>What the program round-trips measured: for each kind of call its fastest and its median time in microseconds.</summary>
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
        one => (Math.Min(one.Value.Fastest, other._times[one.Key].Fastest), Math.Min(one.Value.Median, other._times[one.Key].Median))));

    /// <summary>How many times another's median this one's is.</summary>
    /// <param name="other">The other.</param>
    /// <param name="name">The kind of call.</param>
    /// <returns>The ratio.</returns>
    public double Ratio(RoundTripTimes other, string name) => _times[name].Median / other._times[name].Median;

    /// <summary>A table of a guest's times beside the host's.</summary>
    /// <param name="host">The host's.</param>
    /// <returns>A text.</returns>
    public string Beside(RoundTripTimes host) => string.Join('\n', _times.Select(one => string.Create(
        CultureInfo.InvariantCulture,
        $"{one.Key,-12} guest {one.Value.Median,8:0.0} µs (fastest {one.Value.Fastest:0.0}), host {host._times[one.Key].Median,8:0.0} µs (fastest {host._times[one.Key].Fastest:0.0}), ratio {Ratio(host, one.Key):0.00}")));

    private static double Number(string text) => double.Parse(text, CultureInfo.InvariantCulture);
}
