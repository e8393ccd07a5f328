using OpTeeMediator.Testing.Traces;

namespace OpTeeMediator.Fuzzing.Targets;

/// <summary>The recorded calls that inputs are made of.</summary>
internal static class FuzzTraces
{
    /// <summary>Of Linux 6.12's driver, in all variants of the recording.</summary>
    public static IEnumerable<TraceCall> Linux => "ABCDEFG".SelectMany(variant =>
        Trace.Read(Path.Combine(AppContext.BaseDirectory, "trace-linux-6.12.txt"), variant));
}
