namespace OpTeeMediator.Litmus;

/// <summary>What the executions of a litmus test have shown.</summary>
/// <param name="Rounds">How often it was executed.</param>
/// <param name="Met">In how many of these the first thread did not have to go on without the second.</param>
/// <param name="Forbidden">In how many the threads saw what is forbidden.</param>
internal sealed record LitmusResult(int Rounds, int Met, int Forbidden);
