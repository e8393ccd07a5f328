namespace OpTeeMediator.Backends;

/// <summary>The operation whose application has made another operation, which ends early with it.</summary>
internal interface IOuterOperation
{
    /// <summary>Whether the inner operation is to end early.</summary>
    bool IsCancellationRequested { get; }

    /// <summary>Whether the VM is being reset or disposed of.</summary>
    bool IsTerminationRequested { get; }
}
