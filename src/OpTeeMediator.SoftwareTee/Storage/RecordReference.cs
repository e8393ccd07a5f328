namespace OpTeeMediator.SoftwareTee.Storage;

/// <summary>What a record's parent knows of it: which of all contents it has ever had is the current one.</summary>
/// <param name="Stamp">The random salt of the record's key; all zero if there is no record.</param>
/// <param name="Version">Its version.</param>
internal readonly record struct RecordReference(Guid Stamp, long Version)
{
    /// <summary>Whether there is a record.</summary>
    public bool Exists => Version != 0;
}
