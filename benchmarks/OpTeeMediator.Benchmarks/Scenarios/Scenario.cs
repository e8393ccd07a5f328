namespace OpTeeMediator.Benchmarks.Scenarios;

/// <summary>Something whose cost is measured: an operation that can be done again and again.</summary>
public abstract class Scenario : IDisposable
{
    /// <summary>Does the operation a number of times.</summary>
    public abstract void Run(int operations);

    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    protected virtual void Dispose(bool disposing)
    {
    }
}
