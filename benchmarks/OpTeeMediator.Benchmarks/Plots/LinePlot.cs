namespace OpTeeMediator.Benchmarks.Plots;

/// <summary>Curves in a part of a drawing, with their names below it.</summary>
/// <param name="Title">What it shows, with the unit.</param>
/// <param name="AcrossTitle">What is counted from left to right.</param>
/// <param name="Series">The curves.</param>
internal sealed record LinePlot(string Title, string AcrossTitle, IReadOnlyList<Series> Series)
{
    private const int TitleHeight = 40;
    private const int AxisHeight = 45;
    private const int LegendLine = 20;
    private const int LabelWidth = 60;
    private const int RightMargin = 25;

    /// <summary>Whether equal distances upwards are equal factors; else they begin with 0.</summary>
    public bool IsLogarithmic { get; init; }

    /// <summary>What is written below the values 0, 1, … from left to right; null for a scale of factors.</summary>
    public IReadOnlyList<string>? Names { get; init; }

    /// <summary>Draws it.</summary>
    public void Draw(SvgDrawing drawing, double left, double width)
    {
        int legend = Series.Count == 1 ? 0 : Series.Count * LegendLine;
        double top = TitleHeight;
        double bottom = drawing.Height - AxisHeight - legend;
        double begin = left + LabelWidth;
        double end = left + width - RightMargin;
        IEnumerable<(double X, double Y)> all = Series.SelectMany(series => series.Points);
        double greatest = all.Max(point => point.Y);
        Scale up = IsLogarithmic ? Scale.OfPowers(bottom, top, all.Min(point => point.Y), greatest)
            : Scale.FromZero(bottom, top, greatest);
        drawing.Text(left + 10, 24, Title, style: "title");
        foreach (double tick in up.Ticks)
        {
            drawing.Line(begin, up.At(tick), end, up.At(tick));
            drawing.Text(begin - 6, up.At(tick) + 4, Scale.Format(tick), "end");
        }

        Func<double, double> across = DrawAcross(drawing, begin, end, bottom, all.Max(point => point.X));
        drawing.Text((begin + end) / 2, bottom + 38, AcrossTitle, "middle");
        for (int index = 0; index < Series.Count; index++)
        {
            (double X, double Y)[] points =
                [.. Series[index].Points.Select(point => (across(point.X), up.At(point.Y)))];
            int colour = index % SvgDrawing.Colours;
            drawing.Curve(points, colour);
            foreach ((double x, double y) in points)
            {
                drawing.Point(x, y, colour);
            }

            if (legend != 0)
            {
                double line = bottom + AxisHeight + (index * LegendLine);
                drawing.Bar(begin, line, 14, 10, colour);
                drawing.Text(begin + 22, line + 10, Series[index].Name);
            }
        }
    }

    private Func<double, double> DrawAcross(
        SvgDrawing drawing, double begin, double end, double bottom, double greatest)
    {
        if (Names is not null)
        {
            // Half a step is free at each side.
            double step = (end - begin) / Names.Count;
            for (int index = 0; index < Names.Count; index++)
            {
                drawing.Text(begin + ((index + 0.5) * step), bottom + 18, Names[index], "middle");
            }

            return value => begin + ((value + 0.5) * step);
        }

        Scale scale = new(begin + 10, end, 1, greatest, true);
        foreach (double tick in scale.Ticks)
        {
            drawing.Text(scale.At(tick), bottom + 18, Scale.Format(tick), "middle");
        }

        return scale.At;
    }
}
