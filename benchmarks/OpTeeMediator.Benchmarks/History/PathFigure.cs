namespace OpTeeMediator.Benchmarks.History;

/// <summary>What a call costs.</summary>
/// <param name="Name">The name of its scenario.</param>
/// <param name="Jit">With the tiered compiler.</param>
/// <param name="Aot">Compiled by NativeAOT, if that was measured.</param>
public sealed record PathFigure(string Name, Figure Jit, Figure? Aot);
