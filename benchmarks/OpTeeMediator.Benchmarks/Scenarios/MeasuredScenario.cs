namespace OpTeeMediator.Benchmarks.Scenarios;

/// <summary>What is measured: a name for the budget and how to make the scenario.</summary>
public sealed record MeasuredScenario(string Name, Func<Scenario> Create, int Operations)
{
    /// <summary>What it is compared with, as often in a row; <see langword="null"/> for
    /// <see cref="BareInvoke"/>.</summary>
    public Func<Scenario>? CreateReference { get; init; }

    /// <summary>What is taken off: the same without that which is to be measured.</summary>
    public Func<Scenario>? CreateSubtracted { get; init; }

    /// <summary>How often an operation does what is to be measured.</summary>
    public int Parts { get; init; } = 1;

    /// <summary>Everything with a budget.</summary>
    public static IReadOnlyList<MeasuredScenario> All { get; } =
    [
        new("FastCall", () => new FastCall(), 2000),
        new("InvokeFourValues", () => Invoke.WithValues(1), 500),
        new("InvokeFourMemrefs1Buffer", () => Invoke.WithMemory(1), 500),
        new("InvokeFourMemrefs16Buffers", () => Invoke.WithMemory(16), 500),
        new("InvokeFourMemrefs1000Buffers", () => Invoke.WithMemory(1000), 500),
        new("Register1Page", () => new RegisterAndUnregister(1, 0), 200),
        new("Register1PageAmong1000Buffers", () => new RegisterAndUnregister(1, 1000), 200),
        new("Register128Pages", () => new RegisterAndUnregister(128, 0), 100),
        new("Register4096Pages", () => new RegisterAndUnregister(4096, 0), 20),
        new("FirstRpcOfInvoke", () => Invoke.WithRpc(1), 200) { CreateSubtracted = () => Invoke.WithRpc(0) },
        new("EachFurtherRpc", () => Invoke.WithRpc(9), 50)
        {
            CreateSubtracted = () => Invoke.WithRpc(1), Parts = 8,
        },

        // How long a thread waits for a processor is the computer's affair: so it is compared with bare threads.
        new("HandOffToThreadAndBack", Invoke.OnWorker, 20) { CreateReference = () => new ThreadHandOff() },
    ];
}
