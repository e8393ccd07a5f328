namespace OpTeeMediator.MachineTests;

/// <summary>A span of time in a trace.</summary>
/// <param name="Name">What it is.</param>
/// <param name="Track">The name of its track.</param>
/// <param name="Start">When it begins, in µs.</param>
/// <param name="End">When it ends, in µs.</param>
/// <param name="Call">The call that it is of; 0 for none.</param>
/// <param name="Result">Its result; <see langword="null"/> for none.</param>
internal sealed record ObservedSpan(string Name, string Track, double Start, double End, long Call, string? Result);
