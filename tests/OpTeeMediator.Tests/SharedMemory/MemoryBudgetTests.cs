using OpTeeMediator.SharedMemory;

namespace OpTeeMediator.Tests.SharedMemory;

[Parallelizable(ParallelScope.All)]
internal sealed class MemoryBudgetTests
{
    [Test]
    public void TryTake_UpToBothLimits_CountsAndRefusesTheNext()
    {
        MemoryBudget budget = new(buffersAtMost: 2, pagesAtMost: 10, pagesPerBuffer: 10);

        Assert.That(
            (budget.TryTake(4), budget.TryTake(7), budget.TryTake(6), budget.TryTake(0)),
            Is.EqualTo((true, false, true, false)));
        Assert.That((budget.Buffers, budget.Pages), Is.EqualTo((2, 10)));

        budget.Return(4);
        Assert.That(
            (budget.Buffers, budget.Pages, budget.TryTake(5), budget.TryTake(4)), Is.EqualTo((1, 6, false, true)));
    }
}
