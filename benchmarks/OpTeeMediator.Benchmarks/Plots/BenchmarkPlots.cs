using OpTeeMediator.Benchmarks.History;

namespace OpTeeMediator.Benchmarks.Plots;

/// <summary>The pictures of docs/plots, drawn from the records.</summary>
public static class BenchmarkPlots
{
    private static readonly Dictionary<string, string> s_names = new()
    {
        ["FastCall"] = "fast call",
        ["InvokeFourValues"] = "invoke, four values",
        ["InvokeFourMemrefs1Buffer"] = "invoke, four references, 1 buffer",
        ["InvokeFourMemrefs16Buffers"] = "invoke, four references, 16 buffers",
        ["InvokeFourMemrefs1000Buffers"] = "invoke, four references, 1000 buffers",
        ["Register1Page"] = "register and unregister 1 page",
        ["Register1PageAmong1000Buffers"] = "the same among 1000 buffers",
        ["Register128Pages"] = "register and unregister 128 pages",
        ["Register4096Pages"] = "register and unregister 4096 pages",
        ["FirstRpcOfInvoke"] = "the first call to the guest of an invoke",
        ["EachFurtherRpc"] = "each further call to the guest",
    };

    // One of each kind: curves that lie on each other tell nothing.
    private static readonly string[] s_inHistory =
    [
        "FastCall", "InvokeFourValues", "InvokeFourMemrefs16Buffers", "Register1Page", "Register4096Pages",
        "FirstRpcOfInvoke", "EachFurtherRpc",
    ];

    /// <summary>Draws all.</summary>
    /// <param name="records">The records, the oldest first.</param>
    /// <returns>The pictures by the names of their files.</returns>
    public static Dictionary<string, string> Draw(IReadOnlyList<BenchmarkRecord> records)
    {
        BenchmarkRecord last = records[^1];
        return new Dictionary<string, string>
        {
            ["call-cost.svg"] = DrawCalls(last).ToString(),
            ["growth.svg"] = DrawGrowth(last).ToString(),
            ["vm-cost.svg"] = DrawVms(last).ToString(),
            ["history.svg"] = DrawHistory(records).ToString(),
        };
    }

    private static SvgDrawing DrawCalls(BenchmarkRecord record)
    {
        List<Series> series = [new("tiered compiler", Points(path => path.Jit))];
        if (record.Paths.All(path => path.Aot is not null))
        {
            series.Add(new Series("NativeAOT", Points(path => path.Aot!)));
        }

        return BarPlot.Draw(
            $"What a call costs, ns ({record.Commit})", [.. record.Paths.Select(path => s_names[path.Name])], series);

        IReadOnlyList<(double X, double Y)> Points(Func<PathFigure, Figure> select) =>
            [.. record.Paths.Select((path, index) => ((double)index, select(path).Nanoseconds))];
    }

    private static SvgDrawing DrawGrowth(BenchmarkRecord record)
    {
        SvgDrawing drawing = new(640, 420);
        Series[] series =
        [
            new("sessions of one VM, invoked in turn, four values", Points(GrowthKind.Sessions)),
            new("registered buffers of one VM, four references", Points(GrowthKind.Buffers)),
            new("VMs that invoke in turn, four values", Points(GrowthKind.Vms)),
        ];
        new LinePlot($"What an invoke costs, ns ({record.Commit})", "how many", series).Draw(drawing, 0, drawing.Width);
        return drawing;

        IReadOnlyList<(double X, double Y)> Points(GrowthKind kind) =>
            [.. record.Growth.Where(one => one.Of == kind).Select(one => ((double)one.Count, one.Invoke.Nanoseconds))];
    }

    private static SvgDrawing DrawVms(BenchmarkRecord record)
    {
        SvgDrawing drawing = new(860, 300);
        double half = drawing.Width / 2.0;
        new LinePlot($"Creation of a VM, µs ({record.Commit})", "VMs", [new("", Points(vm => vm.CreationMicroseconds))])
            .Draw(drawing, 0, half);
        new LinePlot("Managed memory of a VM, KiB", "VMs", [new("", Points(vm => vm.Kibibytes))])
            .Draw(drawing, half, half);
        return drawing;

        IReadOnlyList<(double X, double Y)> Points(Func<VmFigure, double> select) =>
            [.. record.Vms.Select(vm => ((double)vm.Count, select(vm)))];
    }

    private static SvgDrawing DrawHistory(IReadOnlyList<BenchmarkRecord> records)
    {
        SvgDrawing drawing = new(760, 560);
        Series[] series =
        [
            .. s_inHistory.Select(name => new Series(
                s_names[name],
                [.. records.Select((record, index) => (
                    (double)index, record.Paths.Single(path => path.Name == name).Jit.Ratio))])),
        ];
        new LinePlot("Multiples of a bare invoke, tiered compiler", "day and commit", series)
        {
            IsLogarithmic = true, Names = [.. records.Select(record => $"{record.Date:MM-dd} {record.Commit}")],
        }.Draw(drawing, 0, drawing.Width);
        return drawing;
    }
}
