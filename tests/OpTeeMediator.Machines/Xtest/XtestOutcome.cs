namespace OpTeeMediator.Machines.Xtest;

/// <summary>How a case ended.</summary>
public enum XtestOutcome
{
    /// <summary>It did not end: the suite did not get that far, or hung in it.</summary>
    Unfinished,

    Passed,

    Failed,
}
