#if !NATIVE_AOT
using BenchmarkDotNet.Running;
using OpTeeMediator.Benchmarks;
#endif
using OpTeeMediator.Benchmarks.Check;
using OpTeeMediator.Benchmarks.History;
using OpTeeMediator.Benchmarks.Plots;
#if !NATIVE_AOT
using OpTeeMediator.Benchmarks.Readme;
#endif

if (args is ["--check"] or ["--check", "--other-processor"])
{
    // The budget was measured on one processor; the ratios of another differ by more than a tenth.
    return BudgetCheck.Run(Console.Out, args.Length == 1 ? 1.1 : 1.8) == 0 ? 0 : 1;
}

if (args is [BudgetCheck.MeasureArgument, ..])
{
    BudgetCheck.Measure(args.AsSpan(1));
    return 0;
}

if (args is ["--record", string recorded, string commit, ..])
{
    // The program compiled by NativeAOT may follow.
    Console.WriteLine(HistoryFolder.Write(recorded, Recorder.Record(commit, args.Length > 3 ? args[3] : null)));
    return 0;
}

if (args is ["--plot", string history, string plots])
{
    foreach ((string name, string plot) in BenchmarkPlots.Draw(HistoryFolder.Read(history)))
    {
        File.WriteAllText(Path.Combine(plots, name), plot);
    }

    return 0;
}

if (args is ["--two-threads"])
{
    BudgetCheck.ReportTwoThreads(Console.Out);
    return 0;
}

if (args is ["--remote"])
{
    RemoteReport.Run(Console.Out);
    return 0;
}

if (args is [RemoteReport.ServerArgument, _, _])
{
    await RemoteReport.ServeAsync(args[1], args[2]);
    return 0;
}

#if NATIVE_AOT
return 1;
#else
if (args is ["--readme"] or ["--readme", _])
{
    // With a path the figures are kept there.
    ReadmeRecord? record = ReadmeBenchmarks.Run(Console.Out);
    if (args.Length > 1)
    {
        record?.Write(args[1]);
    }

    return record is null ? 1 : 0;
}

_ = BenchmarkSwitcher.FromAssembly(typeof(MediatorBenchmarks).Assembly).Run(args);
return 0;
#endif
