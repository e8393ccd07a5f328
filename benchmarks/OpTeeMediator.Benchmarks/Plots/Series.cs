namespace OpTeeMediator.Benchmarks.Plots;

/// <summary>Values that belong together, and their name.</summary>
internal sealed record Series(string Name, IReadOnlyList<(double X, double Y)> Points);
