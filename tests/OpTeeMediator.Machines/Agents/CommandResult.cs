namespace OpTeeMediator.Machines.Agents;

/// <summary>How a command on a machine ended.</summary>
/// <param name="Status">Its exit status.</param>
/// <param name="Lines">Its output, standard output and error alike.</param>
/// <param name="Duration">How long it took, seen from here.</param>
public sealed record CommandResult(int Status, IReadOnlyList<OutputLine> Lines, TimeSpan Duration)
{
    /// <summary>The output as one text.</summary>
    public string Output => string.Join('\n', Lines.Select(line => line.Text));

    /// <inheritdoc/>
    public override string ToString() => $"exit status {Status} after {Duration.TotalSeconds:0.0} s\n{Output}";
}
