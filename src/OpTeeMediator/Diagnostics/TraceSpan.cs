namespace OpTeeMediator.Diagnostics;

/// <summary>A span of time on a track of a VM.</summary>
/// <param name="Vm">The VM's number in the trace.</param>
/// <param name="Track">The number of the track.</param>
/// <param name="TrackName">Its name.</param>
/// <param name="Name">What happens meanwhile.</param>
/// <param name="Start">When it begins, by <see cref="System.Diagnostics.Stopwatch"/>.</param>
/// <param name="End">When it ends.</param>
/// <param name="Call">The number of the call; 0 for none.</param>
/// <param name="Detail">The result, or the reason of a refusal; <see langword="null"/> for none.</param>
internal readonly record struct TraceSpan(
    int Vm, int Track, string TrackName, string Name, long Start, long End, long Call, string? Detail);
