namespace OpTeeMediator.Benchmarks.Check;

/// <summary>What a measured scenario may cost: bytes allocated per operation, and time as a multiple of
/// the reference.</summary>
public sealed record Budget(int BytesPerOperation, double Ratio);
