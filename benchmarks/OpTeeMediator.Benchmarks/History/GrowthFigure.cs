namespace OpTeeMediator.Benchmarks.History;

/// <summary>What an invoke costs if there are many of something.</summary>
public sealed record GrowthFigure(GrowthKind Of, int Count, Figure Invoke);
