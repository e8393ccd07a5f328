using System.Globalization;
using System.Text;
using System.Text.Json;

namespace OpTeeMediator.Tests.Documentation;

/// <summary>Draws a trace as a viewer shows it: a row for each track, a bar for each span of time.</summary>
internal static class TracePicture
{
    private const int Width = 860;
    private const int Left = 130;
    private const int Right = 24;
    private const int Top = 44;
    private const int RowHeight = 30;
    private const int BarHeight = 22;
    private const double LetterWidth = 6.7;

    private static readonly int[] RoundNumbers = [1, 2, 5, 10];

    // With a background of its own, as an image does not know that of the page.
    private const string Style = """
        <style>
          .page { fill: #ffffff; stroke: #d0d7de; }
          text { font: 12px ui-monospace, Menlo, Consolas, monospace; fill: #1f2328; }
          .faint { fill: #59636e; }
          .line { stroke: #d0d7de; }
          .smc { fill: #9ec5f5; }
          .call { fill: #a9d9b0; }
          .guest { fill: #f2d58a; }
          .tee { fill: #d3bdf0; }
          @media (prefers-color-scheme: dark) {
            .page { fill: #0d1117; stroke: #3d444d; }
            text { fill: #f0f6fc; }
            .faint { fill: #9198a1; }
            .line { stroke: #3d444d; }
            .smc { fill: #1f4f8f; }
            .call { fill: #1f6a34; }
            .guest { fill: #7d5a06; }
            .tee { fill: #5a3a94; }
          }
        </style>
        """;

    public static string Draw(string json)
    {
        using JsonDocument document = JsonDocument.Parse(json);
        JsonElement[] records = [.. document.RootElement.EnumerateArray()];
        Dictionary<int, string> tracks = records.Where(record => Text(record, "name") == "thread_name").ToDictionary(
            record => record.GetProperty("tid").GetInt32(), record => Text(record.GetProperty("args"), "name"));
        Span[] spans = [.. records.Where(record => Text(record, "ph") == "X").Select(record => Read(record, tracks))];
        Row[] rows =
        [
            .. spans.GroupBy(span => (span.Track, span.IsInner))
                .OrderBy(group => KindOf(group.First().Track)).ThenBy(group => group.Key.IsInner)
                .Select(group => new Row(
                    group.Key.IsInner ? "" : group.Key.Track, [.. group.OrderBy(span => span.Start)])),
        ];
        double start = spans.Min(span => span.Start);
        double length = spans.Max(span => span.End) - start;
        double scale = (Width - Left - Right) / length;
        int height = Top + (rows.Length * RowHeight) + 12;

        StringBuilder svg = new();
        Line(svg, $"<svg xmlns='http://www.w3.org/2000/svg' width='{Width}' height='{height}' role='img'>");
        Line(svg, $"<title>A call of a guest, from its SMC through an RPC to its result</title>");
        Line(svg, $"{Style}");
        Line(svg, $"<rect class='page' x='0.5' y='0.5' width='{Width - 1}' height='{height - 1}' rx='6'/>");
        double step = Step(length);
        for (double time = 0; time <= length; time += step)
        {
            double x = Left + (time * scale);
            Line(svg, $"<line class='line' x1='{x:0.#}' y1='30' x2='{x:0.#}' y2='{height - 8}'/>");
            Line(svg, $"<text class='faint' x='{x:0.#}' y='22' text-anchor='middle'>{Micro(time)}</text>");
        }

        foreach ((int number, Row row) in rows.Index())
        {
            int y = Top + (number * RowHeight);
            Line(svg, $"<text class='faint' x='12' y='{y + 15}'>{row.Name}</text>");
            foreach (Span span in row.Spans)
            {
                Bar(svg, span, Left + ((span.Start - start) * scale), y, Math.Max(2, (span.End - span.Start) * scale));
            }
        }

        Line(svg, $"</svg>");
        return svg.ToString();
    }

    private static void Bar(StringBuilder svg, Span span, double x, int y, double width)
    {
        string kind = KindOf(span.Track) switch { 0 => "smc", 1 => span.IsInner ? "guest" : "call", _ => "tee" };
        string longName = span.Result is null ? span.Name : $"{span.Name} → {span.Result}";
        string name = Fits(longName, width) ? longName : span.Name;
        Line(svg, $"<rect class='{kind}' x='{x:0.#}' y='{y}' width='{width:0.#}' height='{BarHeight}' rx='2'>");
        Line(svg, $"<title>{longName}, {Micro(span.End - span.Start)}</title></rect>");
        double label = Fits(name, width) ? x + 5 : x + width + 4;
        Line(svg, $"<text x='{label:0.#}' y='{y + 15}'>{name}</text>");
    }

    private static bool Fits(string text, double width) => (text.Length * LetterWidth * 1.1) + 8 <= width;

    private static string Micro(double time) => string.Create(CultureInfo.InvariantCulture, $"{time:0} µs");

    // About eight marks, at round numbers.
    private static double Step(double length)
    {
        double power = Math.Pow(10, Math.Floor(Math.Log10(length / 8)));
        return power * RoundNumbers.First(factor => power * factor * 8 >= length);
    }

    private static int KindOf(string track) => track.StartsWith("call", StringComparison.Ordinal) ? 1
        : track.StartsWith("TEE", StringComparison.Ordinal) ? 2 : 0;

    private static void Line(StringBuilder svg, FormattableString line) =>
        svg.Append(line.ToString(CultureInfo.InvariantCulture)).Append('\n');

    private static string Text(JsonElement record, string name) => record.GetProperty(name).GetString()!;

    private static Span Read(JsonElement record, Dictionary<int, string> tracks)
    {
        JsonElement arguments = record.GetProperty("args");
        string track = tracks[record.GetProperty("tid").GetInt32()];
        double start = record.GetProperty("ts").GetDouble();
        string? result = arguments.TryGetProperty("result", out JsonElement value) ? value.GetString() : null;
        return new Span(Text(record, "name"), track, start, start + record.GetProperty("dur").GetDouble(), result);
    }

    private sealed record Row(string Name, IReadOnlyList<Span> Spans);

    private sealed record Span(string Name, string Track, double Start, double End, string? Result)
    {
        public bool IsInner => KindOf(Track) == 1 && Result is null;
    }
}
