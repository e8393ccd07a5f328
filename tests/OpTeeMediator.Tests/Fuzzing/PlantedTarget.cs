using OpTeeMediator.Fuzzing.Engine;

namespace OpTeeMediator.Tests.Fuzzing;

/// <summary>A target with a fault of the test's making.</summary>
internal sealed class PlantedTarget(PlantedTarget.Execution execution) : FuzzTarget
{
    internal delegate int Execution(ReadOnlySpan<byte> input);

    public override IEnumerable<byte[]> Seeds => [[1, 2, 3]];

    public override void Execute(ReadOnlySpan<byte> input) => _ = execution(input);
}
