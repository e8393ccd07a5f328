namespace OpTeeMediator.Benchmarks.Check;

/// <summary>What a measured scenario may cost: bytes allocated per operation, and time as a multiple of
/// the reference.</summary>
/// <param name="BytesPerOperation">Bytes that it allocates.</param>
/// <param name="Ratio">How many times as long as the reference it takes.</param>
/// <param name="LockedInstructions">How many locked instructions and full fences it executes on x86-64; of some only.
/// </param>
public sealed record Budget(int BytesPerOperation, double Ratio, int? LockedInstructions = null);
