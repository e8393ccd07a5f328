namespace OpTeeMediator.Protocol;

/// <summary>The revision of the trusted OS, as the guest's driver prints it.</summary>
/// <param name="Major">The major number.</param>
/// <param name="Minor">The minor number.</param>
/// <param name="BuildId">A build identifier; 0 if there is none.</param>
/// <remarks>Immutable, hence thread-safe.</remarks>
public readonly record struct OpTeeRevision(uint Major, uint Minor, ulong BuildId)
{
    /// <summary>The revision this library was developed with, for TEEs that have none.</summary>
    internal static OpTeeRevision Default => new(4, 5, 0);
}
