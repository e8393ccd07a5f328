namespace OpTeeMediator.Benchmarks.History;

/// <summary>What a call costs, and as a multiple of what the reference cost in the same process.</summary>
public sealed record Figure(double Nanoseconds, double Ratio);
