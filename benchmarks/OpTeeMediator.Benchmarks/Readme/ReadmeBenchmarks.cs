using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Filters;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Loggers;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.Emit;
using OpTeeMediator.Benchmarks.History;

namespace OpTeeMediator.Benchmarks.Readme;

/// <summary>BenchmarkDotNet's short job of what the README's table has.</summary>
internal static class ReadmeBenchmarks
{
    /// <summary>Measures.</summary>
    /// <returns>The figures; <see langword="null"/> if a path has none, or allocates.</returns>
    public static ReadmeRecord? Run(TextWriter output)
    {
        string[] names = [MediatorBenchmarks.Reference, .. ReadmeRecord.Scenarios.Values];
        // In this process: BenchmarkDotNet's own toolchain would restore and build a project for each case.
        ManualConfig config = ManualConfig.CreateEmpty()
            .AddJob(Job.ShortRun.WithToolchain(InProcessEmitToolchain.Instance))
            .AddFilter(new SimpleFilter(one => names.Contains(NameOf(one))))
            .AddColumnProvider(DefaultColumnProviders.Instance)
            .AddLogger(ConsoleLogger.Default)
            .WithArtifactsPath(Path.Combine(Path.GetTempPath(), "optee-benchmarks"));
        Summary summary = BenchmarkRunner.Run<MediatorBenchmarks>(config);
        ReadmeFigure[] figures =
        [
            .. names.Select(name => summary.Reports.FirstOrDefault(report => NameOf(report.BenchmarkCase) == name))
                .OfType<BenchmarkReport>()
                .Where(report => report is { Success: true, ResultStatistics.Median: > 0 })
                .Select(report => new ReadmeFigure(
                    NameOf(report.BenchmarkCase), Math.Round(report.ResultStatistics!.Median, 1),
                    report.GcStats.GetBytesAllocatedPerOperation(report.BenchmarkCase) ?? long.MaxValue)),
        ];
        output.WriteLine($"{"measured",-20} {"ns",9} {"bytes",7}");
        foreach (ReadmeFigure figure in figures)
        {
            output.WriteLine(FormattableString.Invariant(
                $"{figure.Name,-20} {figure.Nanoseconds,9:f1} {figure.Bytes,7}"));
        }

        if (figures.Length < names.Length || figures.Any(figure => figure.Bytes != 0))
        {
            output.WriteLine("FAILED: a path has no figure, or allocates.");
            return null;
        }

        return new ReadmeRecord(
            DateOnly.FromDateTime(DateTime.UtcNow), Recorder.ReadProcessor(), figures[0], figures[1..]);
    }

    private static string NameOf(BenchmarkCase one) => (string)one.Parameters[nameof(MediatorBenchmarks.Name)];
}
