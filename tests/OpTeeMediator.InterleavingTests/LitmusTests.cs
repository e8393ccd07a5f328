extern alias litmus;

using litmus::OpTeeMediator.Litmus;

namespace OpTeeMediator.InterleavingTests;

/// <summary>What docs/memory-order.md rules out does not occur on this processor, and without the fences it does, where
/// the processor can show it.</summary>
[NonParallelizable]
internal sealed class LitmusTests
{
    private const int Batches = 400;
    private const int ControlBatches = 4000;

    // In so many rounds that threads were side by side, each control run has seen it many times.
    private const int EnoughMet = 1_000_000;

    private static readonly Func<LitmusTest>[] All = [.. litmus::OpTeeMediator.Litmus.LitmusTests.All];

    private static IEnumerable<TestCaseData> Tests => All.Select(Case);

    private static IEnumerable<TestCaseData> TestsOfFences =>
        All.Where(static make => make().IsShownByStoreBuffers).Select(Case);

    [TestCaseSource(nameof(Tests))]
    public void Run_WithFences_SeesNothingForbidden(object make)
    {
        LitmusResult result = LitmusRun.Execute((Func<LitmusTest>)make, Batches);

        TestContext.Out.WriteLine(result);
        Assert.That(result.Forbidden, Is.Zero);
    }

    // Ends as soon as one was seen.
    [TestCaseSource(nameof(TestsOfFences))]
    public void Run_WithoutFences_SeesForbidden(object make)
    {
        LitmusResult result = LitmusRun.ExecuteWithoutFences((Func<LitmusTest>)make, ControlBatches);

        TestContext.Out.WriteLine(result);
        if (result.Forbidden == 0 && result.Met < EnoughMet)
        {
            Assert.Inconclusive($"The processors were too busy to run both threads at a time: {result}");
        }

        Assert.That(result.Forbidden, Is.Not.Zero);
    }

    private static TestCaseData Case(Func<LitmusTest> make) => new TestCaseData(make).SetArgDisplayNames(make().Name);
}
