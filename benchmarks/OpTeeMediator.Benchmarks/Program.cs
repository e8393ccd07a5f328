using BenchmarkDotNet.Running;
using OpTeeMediator.Benchmarks;
using OpTeeMediator.Benchmarks.Check;

if (args is ["--check"])
{
    return BudgetCheck.Run(Console.Out) == 0 ? 0 : 1;
}

_ = BenchmarkSwitcher.FromAssembly(typeof(MediatorBenchmarks).Assembly).Run(args);
return 0;
