using OpTeeMediator.Machines.Xtest;

namespace OpTeeMediator.Machines.Parity;

/// <summary>A place where the suite ran.</summary>
/// <param name="Name">Its name, such as <c>host</c>.</param>
/// <param name="Run">What came of it.</param>
public sealed record ParityColumn(string Name, XtestRun Run)
{
    /// <summary>A case as it ran here.</summary>
    /// <param name="id">Its number.</param>
    /// <returns>The case; <see langword="null"/> if the suite did not get to it.</returns>
    public XtestCase? Find(string id) => Run.Cases.FirstOrDefault(one => one.Id == id);
}
