using System.Text.Json;

namespace OpTeeMediator.Tests.Diagnostics;

/// <summary>One record of a trace.</summary>
/// <param name="Phase">X for a span, M for a name, s, t and f for an arrow, i for the end.</param>
/// <param name="Name">What happens.</param>
/// <param name="Vm">The process.</param>
/// <param name="Track">The thread.</param>
/// <param name="Start">In µs.</param>
/// <param name="End">In µs.</param>
/// <param name="Call">The number of the call; 0 for none.</param>
/// <param name="Result">The result; <see langword="null"/> for none.</param>
/// <param name="Flow">The number of the arrow; 0 for none.</param>
internal sealed record TraceRecord(
    string Phase, string Name, int Vm, int Track, double Start, double End, long Call, string? Result, long Flow)
{
    /// <summary>Reads a record, and checks that it has what its phase asks for, and nothing else.</summary>
    public static TraceRecord Read(JsonElement element)
    {
        string phase = element.GetProperty("ph").GetString()!;
        string[] own = phase switch
        {
            "X" => ["dur", "args"],
            "M" => ["args"],
            "i" => ["s"],
            _ => ["id", "bp"],
        };
        string[] fields = ["ph", "name", "cat", "pid", "tid", "ts", .. own];
        Assert.That(element.EnumerateObject().Select(field => field.Name), Is.EqualTo(fields));
        double start = element.GetProperty("ts").GetDouble();
        double duration = element.TryGetProperty("dur", out JsonElement length) ? length.GetDouble() : 0;
        Assert.That(start, Is.GreaterThanOrEqualTo(0));
        Assert.That(duration, Is.GreaterThanOrEqualTo(0));
        _ = element.TryGetProperty("args", out JsonElement arguments);
        return new TraceRecord(
            phase, element.GetProperty("name").GetString()!, element.GetProperty("pid").GetInt32(),
            element.GetProperty("tid").GetInt32(), start, start + duration,
            phase == "X" && arguments.TryGetProperty("call", out JsonElement call) ? call.GetInt64() : 0,
            phase == "X" && arguments.TryGetProperty("result", out JsonElement result) ? result.GetString() : null,
            element.TryGetProperty("id", out JsonElement flow) ? flow.GetInt64() : 0);
    }
}
