using OpTeeMediator.Machines.Xtest;

namespace OpTeeMediator.Machines.Parity;

/// <summary>A place where the suite ran.</summary>
/// <param name="Name">Its name, such as <c>host</c>.</param>
/// <param name="Run">What came of it.</param>
/// <param name="Expected">The cases that cannot pass here, and why.</param>
public sealed record ParityColumn(string Name, XtestRun Run, IReadOnlyDictionary<string, string> Expected)
{
    /// <summary>Whether a case passed here.</summary>
    /// <param name="id">Its number.</param>
    /// <returns><see langword="false"/> too if the suite did not get to it.</returns>
    public bool Passed(string id) => Find(id)?.Outcome == XtestOutcome.Passed;

    /// <summary>How long the cases took together, in seconds.</summary>
    public double Seconds => Run.Cases.Sum(one => one.Duration.TotalSeconds);

    /// <summary>A case as it ran here.</summary>
    /// <param name="id">Its number.</param>
    /// <returns>The case; <see langword="null"/> if the suite did not get to it.</returns>
    public XtestCase? Find(string id) => Run.Cases.FirstOrDefault(one => one.Id == id);
}
