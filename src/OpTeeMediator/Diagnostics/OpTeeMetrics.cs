using System.Diagnostics.Metrics;

namespace OpTeeMediator.Diagnostics;

/// <summary>What a VMM measures of its guests' calls: the meter, for MeterListener, OpenTelemetry or
/// dotnet-counters.</summary>
/// <remarks>docs/diagnostics.md lists the instruments. One meter serves all VMs of a process; each measurement
/// has the VM's name as tag <c>vm</c>. Nothing is measured while nobody listens.</remarks>
public static class OpTeeMetrics
{
    /// <summary>The meter's name.</summary>
    public const string MeterName = "OpTeeMediator";

    internal static Meter Meter { get; } =
        new(MeterName, typeof(OpTeeMetrics).Assembly.GetName().Version?.ToString(3));
}
