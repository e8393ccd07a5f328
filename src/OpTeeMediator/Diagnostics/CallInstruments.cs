using System.Diagnostics.Metrics;
using System.Runtime.CompilerServices;

namespace OpTeeMediator.Diagnostics;

/// <summary>The instruments of yielding calls. Thread-safe.</summary>
internal sealed class CallInstruments
{
    private const string Calls = "{call}";
    private const string Seconds = "s";

    // From a call that is answered inline to one that waits for a user.
    private static readonly InstrumentAdvice<double> s_advice = new()
    {
        HistogramBucketBoundaries =
        [
            1e-7, 2.5e-7, 5e-7, 1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2,
            2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
        ],
    };

    private CallInstruments(Meter meter)
    {
        Ended = meter.CreateCounter<long>(
            "opteemediator.calls", Calls, "Calls that were answered in their message, by command and result.");
        Refusals = meter.CreateCounter<long>(
            "opteemediator.refusals", Calls, "Calls and messages that were refused, by reason.");
        Rpcs = meter.CreateCounter<long>(
            "opteemediator.rpcs", "{request}", "Requests of the TEE to the guest, by command.");
        Preemptions = meter.CreateCounter<long>(
            "opteemediator.preemptions", "{return}", "Returns to the guest for its interrupts during a call.");
        Sleeps = meter.CreateCounter<long>(
            "opteemediator.sleeps", "{sleep}", "Calls whose thread in the guest was put to sleep.");
        Duration = meter.CreateHistogram(
            "opteemediator.call.duration", Seconds, "From a call's first SMC to its answer.", advice: s_advice);
        BackendTime = meter.CreateHistogram(
            "opteemediator.call.backend_time", Seconds, "The part in which the backend worked.", advice: s_advice);
        MediationTime = meter.CreateHistogram(
            "opteemediator.call.mediation_time", Seconds, "The part in which neither backend nor guest worked.",
            advice: s_advice);
    }

    public static CallInstruments Shared { get; } = new(OpTeeMetrics.Meter);

    public Counter<long> Ended { get; }

    public Counter<long> Refusals { get; }

    public Counter<long> Rpcs { get; }

    public Counter<long> Preemptions { get; }

    public Counter<long> Sleeps { get; }

    public Histogram<double> Duration { get; }

    public Histogram<double> BackendTime { get; }

    public Histogram<double> MediationTime { get; }

    /// <summary>Whether somebody listens to what is measured of each call.</summary>
    /// <remarks>Without branches: each call asks.</remarks>
    public bool MeasureCalls
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => Ended.Enabled | Duration.Enabled | BackendTime.Enabled | MediationTime.Enabled;
    }

    /// <summary>Whether somebody listens to why calls return to the guest.</summary>
    public bool MeasureSuspensions
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => Rpcs.Enabled | Preemptions.Enabled | Sleeps.Enabled;
    }
}
