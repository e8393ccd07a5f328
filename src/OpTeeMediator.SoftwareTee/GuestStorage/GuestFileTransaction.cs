using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.SoftwareTee.GuestStorage;

/// <summary>A transaction on records in the guest's files: changes are kept in memory until the commit.</summary>
/// <remarks>A record's version is part of its file's name, so replacing and deleting need not look at it.</remarks>
internal sealed class GuestFileTransaction(ITeeStoreSession roots, RecordFiles files) : ITeeStoreTransaction
{
    private readonly Dictionary<TeeStoreKey, TeeStoreRecord> _written = [];
    private readonly List<(TeeStoreKey Key, long Version)> _obsolete = [];
    private readonly List<(Guid Application, Guid Object)> _deleted = [];
    private (long ExpectedVersion, TeeStoreRecord Record)? _root;

    public TeeStoreRecord? ReadRoot()
    {
        if (_root is { } changed)
        {
            return changed.Record;
        }

        using ITeeStoreTransaction transaction = roots.Begin(writes: false);
        return transaction.ReadRoot();
    }

    public bool TryReplaceRoot(long expectedVersion, TeeStoreRecord root)
    {
        if ((ReadRoot()?.Version ?? 0) != expectedVersion)
        {
            return false;
        }

        _root = (_root?.ExpectedVersion ?? expectedVersion, root);
        return true;
    }

    public TeeStoreRecord? Read(TeeStoreKey key, long expectedVersion) =>
        _written.TryGetValue(key, out TeeStoreRecord written)
            ? written
            : files.Read(key, expectedVersion) is { } data ? new TeeStoreRecord(expectedVersion, data) : null;

    public bool TryInsert(TeeStoreKey key, TeeStoreRecord content) => _written.TryAdd(key, content);

    public bool TryReplace(TeeStoreKey key, long expectedVersion, TeeStoreRecord content)
    {
        _ = TryDelete(key, expectedVersion);
        _written[key] = content;
        return true;
    }

    public bool TryDelete(TeeStoreKey key, long expectedVersion)
    {
        if (!_written.Remove(key))
        {
            _obsolete.Add((key, expectedVersion));
        }

        return true;
    }

    public void DeleteObject(Guid application, Guid objectNumber)
    {
        foreach (TeeStoreKey key in _written.Keys)
        {
            if (key.Application == application && key.Object == objectNumber)
            {
                _ = _written.Remove(key);
            }
        }

        _deleted.Add((application, objectNumber));
    }

    public bool HasRecords() => _written.Count > 0 || files.Any();

    public void Commit()
    {
        if (_root is not { } root)
        {
            // Without a root record that names them no files count.
            return;
        }

        foreach ((TeeStoreKey key, TeeStoreRecord record) in _written)
        {
            files.Write(key, record);
        }

        using (ITeeStoreTransaction transaction = roots.Begin(writes: true))
        {
            if (!transaction.TryReplaceRoot(root.ExpectedVersion, root.Record))
            {
                throw new TeeStoreException("The VM's root record was changed by somebody else.");
            }

            transaction.Commit();
        }

        foreach ((TeeStoreKey key, long version) in _obsolete)
        {
            files.Remove(key, version);
        }

        foreach ((Guid application, Guid number) in _deleted)
        {
            files.RemoveAll(application, number);
        }
    }

    public void Dispose()
    {
    }
}
