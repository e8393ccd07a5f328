using BenchmarkDotNet.Attributes;
using OpTeeMediator.Benchmarks.Scenarios;

namespace OpTeeMediator.Benchmarks;

/// <summary>Each scenario that has a budget, by BenchmarkDotNet, beside the bare invoke.</summary>
[MemoryDiagnoser]
public class MediatorBenchmarks : IDisposable
{
    /// <summary>The name of what the others are compared with.</summary>
    internal const string Reference = nameof(BareInvoke);

    private const int Operations = 1000;

    private Scenario? _scenario;

    [ParamsSource(nameof(Names))]
    public string Name { get; set; } = string.Empty;

    public static IEnumerable<string> Names =>
        [Reference, .. MeasuredScenario.All.Select(measured => measured.Name), "InvokeFourValuesTwoThreads"];

    [GlobalSetup]
    public void SetUp() => _scenario = Name switch
    {
        Reference => new BareInvoke(),
        "InvokeFourValuesTwoThreads" => Invoke.WithValues(2),
        _ => MeasuredScenario.All.Single(measured => measured.Name == Name).Create(),
    };

    [Benchmark(OperationsPerInvoke = Operations)]
    public void Run() => _scenario!.Run(Operations);

    [GlobalCleanup]
    public void CleanUp() => Dispose();

    public void Dispose()
    {
        _scenario?.Dispose();
        GC.SuppressFinalize(this);
    }
}
