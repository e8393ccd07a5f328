using System.Globalization;
using System.Security;
using System.Text;

namespace OpTeeMediator.Benchmarks.Plots;

/// <summary>A picture as SVG, with colours for a light and a dark page.</summary>
internal sealed class SvgDrawing(int width, int height)
{
    // Of each series: visible on both backgrounds.
    private const string Style = """
        text { font: 13px sans-serif; fill: #1f2328; }
        .title { font-size: 16px; font-weight: bold; }
        .page { fill: #ffffff; }
        .grid { stroke: #d1d9e0; stroke-width: 1; fill: none; }
        .curve { stroke-width: 2; fill: none; }
        .s0 { stroke: #2f81f7; fill: #2f81f7; }
        .s1 { stroke: #db6d28; fill: #db6d28; }
        .s2 { stroke: #2da44e; fill: #2da44e; }
        .s3 { stroke: #a371f7; fill: #a371f7; }
        .s4 { stroke: #e5534b; fill: #e5534b; }
        .s5 { stroke: #1b9e9e; fill: #1b9e9e; }
        .s6 { stroke: #bf8700; fill: #bf8700; }
        .s7 { stroke: #8c959f; fill: #8c959f; }
        .curve { fill: none; }
        @media (prefers-color-scheme: dark) {
          text { fill: #e6edf3; }
          .page { fill: #0d1117; }
          .grid { stroke: #3d444d; }
        }
        """;

    /// <summary>How many series have a colour of their own.</summary>
    public const int Colours = 8;

    private readonly StringBuilder _body = new();

    public int Width { get; } = width;

    public int Height { get; } = height;

    public void Text(double x, double y, string text, string anchor = "start", string style = "label")
    {
        string escaped = SecurityElement.Escape(text);
        Add($"<text x=\"{x:f1}\" y=\"{y:f1}\" text-anchor=\"{anchor}\" class=\"{style}\">{escaped}</text>");
    }

    public void Line(double x1, double y1, double x2, double y2) =>
        Add($"<line x1=\"{x1:f1}\" y1=\"{y1:f1}\" x2=\"{x2:f1}\" y2=\"{y2:f1}\" class=\"grid\"/>");

    public void Bar(double x, double y, double length, double thickness, int series) =>
        Add($"<rect x=\"{x:f1}\" y=\"{y:f1}\" width=\"{length:f1}\" height=\"{thickness:f1}\" class=\"s{series}\"/>");

    public void Point(double x, double y, int series) =>
        Add($"<circle cx=\"{x:f1}\" cy=\"{y:f1}\" r=\"3.5\" class=\"s{series}\"/>");

    public void Curve(IEnumerable<(double X, double Y)> points, int series)
    {
        string list = string.Join(
            '\n', points.Select(point => string.Create(CultureInfo.InvariantCulture, $"{point.X:f1},{point.Y:f1}")));
        Add($"<polyline points=\"{list}\" class=\"s{series} curve\"/>");
    }

    public override string ToString() =>
        $"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{Width}\" height=\"{Height}\""
        + $" viewBox=\"0 0 {Width} {Height}\">\n<style>\n{Style}\n</style>\n"
        + $"<rect width=\"{Width}\" height=\"{Height}\" class=\"page\"/>\n{_body}</svg>\n";

    private void Add(FormattableString element) =>
        _body.Append(element.ToString(CultureInfo.InvariantCulture)).Append('\n');
}
