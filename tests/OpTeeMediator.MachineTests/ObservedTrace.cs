using System.Text.Json;

namespace OpTeeMediator.MachineTests;

/// <summary>The file of a trace, as docs/diagnostics.md describes it.</summary>
internal sealed class ObservedTrace
{
    private const string CallTrack = "call in slot ";
    private const string TeeTrack = "TEE for slot ";

    // Times in the file are rounded to 1 ns.
    private const double Rounding = 0.002;

    private readonly JsonElement[] _records;
    private readonly Dictionary<(int Vm, int Track), string> _tracks;

    public ObservedTrace(string text)
    {
        using JsonDocument document = JsonDocument.Parse(text);
        _records = [.. document.RootElement.Clone().EnumerateArray()];
        _tracks = _records.Where(record => Text(record, "name") == "thread_name").ToDictionary(
            record => (Number(record, "pid"), Number(record, "tid")),
            record => Text(record.GetProperty("args"), "name"));
        Spans = [.. _records.Where(record => Text(record, "ph") == "X").Select(Read)];
        Calls =
        [
            .. Spans.Where(span => span.Result is not null && !IsSmc(span)).OrderBy(span => span.Call),
        ];
    }

    /// <summary>All spans of time.</summary>
    public IReadOnlyList<ObservedSpan> Spans { get; }

    /// <summary>The calls with a message, in the order of their beginnings.</summary>
    public IReadOnlyList<ObservedSpan> Calls { get; }

    /// <summary>What the guest does for a call: RPCs, sleep, preemption.</summary>
    /// <param name="call">The call.</param>
    /// <returns>Their spans.</returns>
    public IEnumerable<ObservedSpan> Within(ObservedSpan call) => Spans.Where(span =>
        span.Call == call.Call && span.Result is null && span.Track == call.Track);

    /// <summary>When the TEE works on a call.</summary>
    /// <param name="call">The call.</param>
    /// <returns>The spans.</returns>
    public IEnumerable<ObservedSpan> WorkOf(ObservedSpan call) => Spans.Where(span =>
        span.Call == call.Call && span.Track.StartsWith(TeeTrack, StringComparison.Ordinal));

    /// <summary>The SMCs of a call, on the tracks of vCPUs.</summary>
    /// <param name="call">The call.</param>
    /// <returns>The spans.</returns>
    public IEnumerable<ObservedSpan> SmcsOf(ObservedSpan call) =>
        Spans.Where(span => span.Call == call.Call && IsSmc(span));

    /// <summary>Whether a span is an SMC.</summary>
    /// <param name="span">The span.</param>
    /// <returns>Whether it is.</returns>
    public static bool IsSmc(ObservedSpan span) => !span.Track.StartsWith(CallTrack, StringComparison.Ordinal)
        && !span.Track.StartsWith(TeeTrack, StringComparison.Ordinal);

    /// <summary>What is wrong with a record.</summary>
    /// <returns>A line for each fault.</returns>
    public IEnumerable<string> Faults()
    {
        IEnumerable<string> records = _records.Select((record, index) =>
            IsWellFormed(record, isLast: index == _records.Length - 1) ? null : $"record {index}: {record}")
            .OfType<string>();
        IEnumerable<string> outside = Calls.SelectMany(call => Within(call).Concat(WorkOf(call))
            .Where(span => span.Start < call.Start - Rounding || span.End > call.End + Rounding)
            .Select(span => $"{span} is outside of {call}"));
        IEnumerable<string> lost = Calls.Where(call => !SmcsOf(call).Any()).Select(call => $"no SMC of {call}");
        IEnumerable<string> arrows = Calls.Select(call => (Call: call, Phases: PhasesOf(call)))
            .Where(flow => flow.Phases != Expected(SmcsOf(flow.Call).Count()))
            .Select(flow => $"{flow.Call}: arrows {flow.Phases}, SMCs {SmcsOf(flow.Call).Count()}");
        return [.. records, .. outside, .. lost, .. arrows];
    }

    private string PhasesOf(ObservedSpan call) => string.Concat(_records
        .Where(record => record.TryGetProperty("id", out JsonElement id) && id.GetInt64() == call.Call)
        .OrderBy(record => record.GetProperty("ts").GetDouble()).Select(record => Text(record, "ph")));

    // A call of one SMC needs no arrow.
    private static string Expected(int smcs) => smcs < 2 ? "" : $"s{new string('t', smcs - 2)}f";

    private bool IsWellFormed(JsonElement record, bool isLast) => Text(record, "cat") == "optee"
        && record.GetProperty("ts").GetDouble() >= 0
        && Text(record, "ph") switch
        {
            "M" => Text(record, "name") is "process_name" or "thread_name",
            "X" => record.GetProperty("dur").GetDouble() >= 0
                && _tracks.ContainsKey((Number(record, "pid"), Number(record, "tid"))),
            "s" or "t" or "f" => Text(record, "name") == "call" && record.GetProperty("id").GetInt64() > 0,
            "i" => isLast && Text(record, "name") == "trace ends",
            _ => false,
        };

    private ObservedSpan Read(JsonElement record)
    {
        JsonElement arguments = record.GetProperty("args");
        double start = record.GetProperty("ts").GetDouble();
        return new ObservedSpan(
            Text(record, "name"),
            _tracks[(Number(record, "pid"), Number(record, "tid"))],
            start,
            start + record.GetProperty("dur").GetDouble(),
            arguments.TryGetProperty("call", out JsonElement call) ? call.GetInt64() : 0,
            arguments.TryGetProperty("result", out JsonElement result) ? result.GetString() : null);
    }

    private static string Text(JsonElement record, string name) =>
        record.TryGetProperty(name, out JsonElement value) ? value.GetString()! : "";

    private static int Number(JsonElement record, string name) => record.GetProperty(name).GetInt32();
}
