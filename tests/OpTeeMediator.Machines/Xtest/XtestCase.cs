namespace OpTeeMediator.Machines.Xtest;

/// <summary>A case of xtest's regression suite, as it ran.</summary>
/// <param name="Id">Its number, such as <c>1004</c> or <c>4007_rsa</c>.</param>
/// <param name="Title">What it tests.</param>
/// <param name="Outcome">How it ended.</param>
/// <param name="Duration">How long it took.</param>
/// <param name="Skips">What it said of parts that it left out.</param>
/// <param name="Errors">What it said of its failures.</param>
public sealed record XtestCase(
    string Id, string Title, XtestOutcome Outcome, TimeSpan Duration, IReadOnlyList<string> Skips,
    IReadOnlyList<string> Errors);
