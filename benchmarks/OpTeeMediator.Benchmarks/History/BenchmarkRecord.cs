namespace OpTeeMediator.Benchmarks.History;

/// <summary>What one run has measured, as it lies in <c>benchmarks/history</c>.</summary>
/// <param name="Date">The day.</param>
/// <param name="Commit">What was measured; with a + also what was committed together with the record.</param>
/// <param name="Processor">On what.</param>
/// <param name="Load">How many threads of the whole computer were running or ready, on average.</param>
/// <param name="Paths">What calls cost.</param>
/// <param name="Growth">What an invoke costs beside others; may be empty.</param>
/// <param name="Vms">What VMs cost; may be empty.</param>
public sealed record BenchmarkRecord(
    DateOnly Date, string Commit, string Processor, double Load, IReadOnlyList<PathFigure> Paths,
    IReadOnlyList<GrowthFigure> Growth, IReadOnlyList<VmFigure> Vms);
