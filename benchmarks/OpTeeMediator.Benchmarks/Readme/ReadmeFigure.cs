namespace OpTeeMediator.Benchmarks.Readme;

/// <summary>What BenchmarkDotNet has measured of a path.</summary>
/// <param name="Name">The name of its scenario.</param>
/// <param name="Nanoseconds">The median of the iterations, for each call.</param>
/// <param name="Bytes">What a call allocates.</param>
public sealed record ReadmeFigure(string Name, double Nanoseconds, long Bytes);
