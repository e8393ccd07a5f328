namespace OpTeeMediator.Benchmarks.History;

/// <summary>What each of a number of VMs costs that exist at the same time and have made no call.</summary>
public sealed record VmFigure(int Count, double CreationMicroseconds, double Kibibytes);
