namespace OpTeeMediator.Machines.Agents;

/// <summary>A line of a command's output.</summary>
/// <param name="After">How long after the command's start it arrived here.</param>
/// <param name="Text">The line.</param>
public readonly record struct OutputLine(TimeSpan After, string Text);
