using System.Globalization;

namespace OpTeeMediator.Benchmarks.Plots;

/// <summary>Where a value lies between two ends of a picture.</summary>
/// <param name="from">Where the least value lies.</param>
/// <param name="to">Where the greatest value lies.</param>
/// <param name="least">The least value.</param>
/// <param name="greatest">The greatest value.</param>
/// <param name="isLogarithmic">Whether equal distances are equal factors.</param>
internal sealed class Scale(double from, double to, double least, double greatest, bool isLogarithmic)
{
    /// <summary>The values at which there are lines.</summary>
    public IReadOnlyList<double> Ticks { get; } = isLogarithmic
        ? [.. Powers().Where(value => value >= least && value <= greatest)]
        : [.. Steps(least, greatest)];

    /// <summary>A scale from 0 to somewhat more than a value, in round steps.</summary>
    public static Scale FromZero(double from, double to, double greatest)
    {
        double step = StepOf(greatest);
        return new Scale(from, to, 0, Math.Ceiling(greatest / step) * step, false);
    }

    /// <summary>A scale of the powers of ten around values.</summary>
    public static Scale OfPowers(double from, double to, double least, double greatest) =>
        new(from, to, PowerUpTo(least), Math.Pow(10, Math.Ceiling(Math.Log10(greatest))), true);

    public double At(double value)
    {
        double part = isLogarithmic ? Math.Log(value / least) / Math.Log(greatest / least)
            : (value - least) / (greatest - least);
        return from + (part * (to - from));
    }

    public static string Format(double value) => value.ToString("#,0.####", CultureInfo.InvariantCulture);

    // The greatest power of ten that is not above a value.
    private static double PowerUpTo(double value) => Math.Pow(10, -Math.Ceiling(-Math.Log10(value)));

    private static IEnumerable<double> Powers() => Enumerable.Range(-3, 10).Select(power => Math.Pow(10, power));

    private static IEnumerable<double> Steps(double least, double greatest)
    {
        double step = StepOf(greatest - least);
        for (int count = 0; least + (count * step) <= greatest * 1.0001; count++)
        {
            yield return least + (count * step);
        }
    }

    // 1, 2 or 5 times a power of ten, four to ten of them.
    private static double StepOf(double range)
    {
        double power = PowerUpTo(range);
        return (range / power) switch
        {
            < 2 => power / 5,
            < 5 => power / 2,
            _ => power,
        };
    }
}
