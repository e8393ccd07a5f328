namespace OpTeeMediator.SoftwareTee.Storage;

/// <summary>Reads and changes records of one VM; all changes take effect together, or none.</summary>
/// <remarks>Disposing of it without <see cref="Commit"/> drops the changes. Not thread-safe.</remarks>
public interface ITeeStoreTransaction : IDisposable
{
    /// <summary>Reads the VM's root record.</summary>
    /// <returns>The record, or <see langword="null"/> if there is none.</returns>
    TeeStoreRecord? ReadRoot();

    /// <summary>Replaces the VM's root record if it has a given version.</summary>
    /// <param name="expectedVersion">The version it must have; 0 if there must be none.</param>
    /// <param name="root">The new record.</param>
    /// <returns><see langword="false"/>, with nothing changed, if its version is another.</returns>
    bool TryReplaceRoot(long expectedVersion, TeeStoreRecord root);

    /// <summary>Reads a record.</summary>
    /// <param name="key">Its key.</param>
    /// <param name="expectedVersion">The version that it should have.</param>
    /// <returns>
    /// The record, of whatever version; <see langword="null"/> if there is none, or none with this version.
    /// </returns>
    TeeStoreRecord? Read(TeeStoreKey key, long expectedVersion);

    /// <summary>Adds a record.</summary>
    /// <param name="key">Its key.</param>
    /// <param name="content">Its content.</param>
    /// <returns><see langword="false"/>, with nothing changed, if there is one.</returns>
    bool TryInsert(TeeStoreKey key, TeeStoreRecord content);

    /// <summary>Replaces a record if it has a given version.</summary>
    /// <param name="key">Its key.</param>
    /// <param name="expectedVersion">The version it must have.</param>
    /// <param name="content">Its new content.</param>
    /// <returns><see langword="false"/>, with nothing changed, if there is none with this version.</returns>
    bool TryReplace(TeeStoreKey key, long expectedVersion, TeeStoreRecord content);

    /// <summary>Deletes a record if it has a given version.</summary>
    /// <param name="key">Its key.</param>
    /// <param name="expectedVersion">The version it must have.</param>
    /// <returns><see langword="false"/>, with nothing changed, if there is none with this version.</returns>
    bool TryDelete(TeeStoreKey key, long expectedVersion);

    /// <summary>Deletes all records of an object, whatever their versions.</summary>
    /// <param name="application">Its application.</param>
    /// <param name="objectNumber">Its number.</param>
    void DeleteObject(Guid application, Guid objectNumber);

    /// <summary>Whether the VM has records beside the root record.</summary>
    /// <returns>Whether there is one.</returns>
    bool HasRecords();

    /// <summary>Makes the changes durable.</summary>
    /// <exception cref="TeeStoreException">
    /// It is not known whether they are; the next transaction shows it.
    /// </exception>
    void Commit();
}
