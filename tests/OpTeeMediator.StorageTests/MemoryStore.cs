using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.StorageTests;

/// <summary>A store in memory, whose records a test can change.</summary>
internal sealed class MemoryStore : ITeeStore
{
    public Dictionary<(Guid Machine, TeeStoreKey Key), TeeStoreRecord> Records { get; private set; } = [];

    public Dictionary<Guid, TeeStoreRecord> Roots { get; private set; } = [];

    public Dictionary<Guid, int> Leases { get; } = [];

    /// <summary>Called by a commit, before it takes effect and after.</summary>
    public Action BeforeCommit { get; set; } = () => { };

    public Action AfterCommit { get; set; } = () => { };

    public int Writes { get; private set; }

    public ITeeStoreSession Open(Guid virtualMachine)
    {
        Leases[virtualMachine] = Leases.GetValueOrDefault(virtualMachine) + 1;
        return new Session(this, virtualMachine, Leases[virtualMachine]);
    }

    private sealed class Session(MemoryStore store, Guid machine, int fence) : ITeeStoreSession
    {
        public ITeeStoreTransaction Begin(bool writes) => store.Leases[machine] == fence
            ? new Transaction(store, machine)
            : throw new TeeStoreException(TeeStoreFailure.LeaseLost, "The lease is lost.", null);

        public void Dispose()
        {
        }
    }

    private sealed class Transaction(MemoryStore store, Guid machine) : ITeeStoreTransaction
    {
        private readonly Dictionary<(Guid Machine, TeeStoreKey Key), TeeStoreRecord> _records = new(store.Records);
        private readonly Dictionary<Guid, TeeStoreRecord> _roots = new(store.Roots);

        public TeeStoreRecord? ReadRoot() => _roots.TryGetValue(machine, out TeeStoreRecord root) ? root : null;

        public bool TryReplaceRoot(long expectedVersion, TeeStoreRecord root)
        {
            if (_roots.GetValueOrDefault(machine).Version != expectedVersion)
            {
                return false;
            }

            _roots[machine] = root;
            return true;
        }

        public TeeStoreRecord? Read(TeeStoreKey key, long expectedVersion) =>
            _records.TryGetValue((machine, key), out TeeStoreRecord record) ? record : null;

        public bool TryInsert(TeeStoreKey key, TeeStoreRecord content)
        {
            store.Writes++;
            return _records.TryAdd((machine, key), content);
        }

        public bool TryReplace(TeeStoreKey key, long expectedVersion, TeeStoreRecord content)
        {
            if (Read(key, expectedVersion)?.Version != expectedVersion)
            {
                return false;
            }

            store.Writes++;
            _records[(machine, key)] = content;
            return true;
        }

        public bool TryDelete(TeeStoreKey key, long expectedVersion) =>
            Read(key, expectedVersion)?.Version == expectedVersion && _records.Remove((machine, key));

        public void DeleteObject(Guid application, Guid objectNumber)
        {
            foreach ((Guid Machine, TeeStoreKey Key) record in _records.Keys)
            {
                if (record.Machine == machine && record.Key.Application == application
                    && record.Key.Object == objectNumber)
                {
                    _ = _records.Remove(record);
                }
            }
        }

        public bool HasRecords() => _records.Keys.Any(record => record.Machine == machine);

        public void Commit()
        {
            store.BeforeCommit();
            (store.Records, store.Roots) = (_records, _roots);
            store.AfterCommit();
        }

        public void Dispose()
        {
        }
    }
}
