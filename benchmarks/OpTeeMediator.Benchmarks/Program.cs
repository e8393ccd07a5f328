using BenchmarkDotNet.Running;
using OpTeeMediator.Benchmarks;
using OpTeeMediator.Benchmarks.Check;

if (args is ["--check"] or ["--check", "--other-processor"])
{
    // The budget was measured on one processor; the ratios of another differ by more than a tenth.
    return BudgetCheck.Run(Console.Out, args.Length == 1 ? 1.1 : 1.6) == 0 ? 0 : 1;
}

if (args is [BudgetCheck.MeasureArgument, ..])
{
    BudgetCheck.Measure(args.AsSpan(1));
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

_ = BenchmarkSwitcher.FromAssembly(typeof(MediatorBenchmarks).Assembly).Run(args);
return 0;
