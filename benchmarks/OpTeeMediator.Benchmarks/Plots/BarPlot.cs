namespace OpTeeMediator.Benchmarks.Plots;

/// <summary>Bars beside each other for each of some names, on a scale of factors, with their values.</summary>
internal static class BarPlot
{
    private const int TitleHeight = 40;
    private const int LabelWidth = 290;
    private const int ValueWidth = 70;
    private const int BarHeight = 14;
    private const int GroupGap = 12;
    private const int LegendHeight = 40;

    /// <param name="title">What it shows, with the unit.</param>
    /// <param name="names">The names, from top to bottom.</param>
    /// <param name="series">The bars; the values' X is the index of the name.</param>
    public static SvgDrawing Draw(string title, IReadOnlyList<string> names, IReadOnlyList<Series> series)
    {
        double group = (series.Count * BarHeight) + GroupGap;
        double bottom = TitleHeight + (names.Count * group);
        SvgDrawing drawing = new(860, (int)bottom + LegendHeight);
        IEnumerable<double> values = series.SelectMany(one => one.Points).Select(point => point.Y);
        Scale across = Scale.OfPowers(LabelWidth, drawing.Width - ValueWidth, values.Min(), values.Max());
        drawing.Text(10, 24, title, style: "title");
        foreach (double tick in across.Ticks)
        {
            drawing.Line(across.At(tick), TitleHeight, across.At(tick), bottom);
            drawing.Text(across.At(tick), bottom + 16, Scale.Format(tick), "middle");
        }

        for (int index = 0; index < names.Count; index++)
        {
            double middle = TitleHeight + (index * group) + (group / 2);
            drawing.Text(LabelWidth - 8, middle + 4, names[index], "end");
        }

        for (int index = 0; index < series.Count; index++)
        {
            foreach ((double name, double value) in series[index].Points)
            {
                double top = TitleHeight + (name * group) + (GroupGap / 2) + (index * BarHeight);
                drawing.Bar(LabelWidth, top, across.At(value) - LabelWidth, BarHeight - 2, index);
                drawing.Text(across.At(value) + 5, top + BarHeight - 3, Scale.Format(Math.Round(value, 1)));
            }

            drawing.Bar(10 + (index * 130), bottom + 22, 14, 10, index);
            drawing.Text(32 + (index * 130), bottom + 32, series[index].Name);
        }

        return drawing;
    }
}
