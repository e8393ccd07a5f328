using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.StorageTests;

/// <summary>What every store must do.</summary>
internal static class StoreContract
{
    public static void Check(ITeeStore store)
    {
        Guid machine = Guid.NewGuid();
        TeeStoreKey key = new(Guid.NewGuid(), Guid.NewGuid(), 3);
        TeeStoreRecord first = new(1, new byte[] { 1, 2 });
        TeeStoreRecord second = new(2, new byte[] { 3, 4, 5 });
        using ITeeStoreSession session = store.Open(machine);
        Run(session, commits: true, transaction =>
        {
            Assert.That(transaction.ReadRoot(), Is.Null);
            Assert.That(transaction.TryReplaceRoot(1, first), Is.False);
            Assert.That(transaction.TryReplaceRoot(0, first), Is.True);
            Assert.That(transaction.TryReplaceRoot(0, first), Is.False);
            Assert.That(transaction.Read(key, 1), Is.Null);
            Assert.That(transaction.TryReplace(key, 1, second), Is.False);
            Assert.That(transaction.TryInsert(key, first), Is.True);
            Assert.That(transaction.TryInsert(key, second), Is.False);
        });
        Run(session, commits: false, transaction =>
        {
            Assert.That(transaction.TryReplaceRoot(1, second), Is.True);
            Assert.That(transaction.TryReplace(key, 1, second), Is.True);
        });
        Run(session, commits: true, transaction =>
        {
            AssertEqual(transaction.ReadRoot(), first);
            AssertEqual(transaction.Read(key, 1), first);
            Assert.That(transaction.TryReplace(key, 2, second), Is.False);
            Assert.That(transaction.TryReplace(key, 1, second), Is.True);
            Assert.That(transaction.TryReplaceRoot(1, second), Is.True);
            Assert.That(transaction.TryInsert(key with { Part = 4 }, first), Is.True);
            Assert.That(transaction.HasRecords());
            Assert.That(transaction.TryDelete(key, 1), Is.False);
            Assert.That(transaction.TryDelete(key, 2), Is.True);
            transaction.DeleteObject(key.Application, key.Object);
            Assert.That(transaction.HasRecords(), Is.False);
        });
        using ITeeStoreSession other = store.Open(machine);
        Assert.That(
            () => session.Begin(writes: true),
            Throws.TypeOf<TeeStoreException>()
                .With.Property(nameof(TeeStoreException.Failure)).EqualTo(TeeStoreFailure.LeaseLost));
        Run(other, commits: true, transaction => AssertEqual(transaction.ReadRoot(), second));
    }

    private static void Run(ITeeStoreSession session, bool commits, Action<ITeeStoreTransaction> action)
    {
        using ITeeStoreTransaction transaction = session.Begin(writes: true);
        action(transaction);
        if (commits)
        {
            transaction.Commit();
        }
    }

    private static void AssertEqual(TeeStoreRecord? record, TeeStoreRecord expected)
    {
        Assert.That(record?.Version, Is.EqualTo(expected.Version));
        Assert.That(record?.Data.ToArray(), Is.EqualTo(expected.Data.ToArray()));
    }
}
