namespace OpTeeMediator.Benchmarks.Check;

/// <summary>What a subject may cost: bytes allocated per operation, and time as a multiple of the floor.</summary>
public sealed record Budget(int BytesPerOperation, double Ratio);
