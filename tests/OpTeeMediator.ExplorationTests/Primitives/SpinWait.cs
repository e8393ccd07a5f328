using OpTeeMediator.ExplorationTests.Scheduling;

namespace OpTeeMediator;

/// <summary>Who spins lets the others go on.</summary>
internal struct SpinWait
{
    public int Count { get; private set; }

    public void SpinOnce()
    {
        Count++;
        Explorer.Yield();
    }
}
