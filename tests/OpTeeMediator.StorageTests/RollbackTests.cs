using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.StorageTests;

/// <summary>The rollback counter, unknown outcomes of commits, leases and keys.</summary>
[FixtureLifeCycle(LifeCycle.InstancePerTestCase)]
internal sealed class RollbackTests
{
    private readonly FakeAnchor _anchor = new();
    private readonly MemoryStore _store = new();

    [Test]
    public void Open_OlderCopyOfTheStore_CorruptObject()
    {
        _ = Write(1);
        (var records, var roots) = (_store.Records, _store.Roots);
        _ = Write(2);
        MemoryStore old = new();
        CopyTo(old, records, roots);

        Assert.That(Read(old, out _), Is.EqualTo(TeeReturnCode.CorruptObject));
        Assert.That(Read(new MemoryStore(), out _), Is.EqualTo(TeeReturnCode.CorruptObject), "an empty store");
        Assert.That(Read(_store, out byte[] data), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(data, Is.EqualTo([2]));
    }

    [Test]
    public void Write_CounterFails_NotAvailableUntilItIsBack()
    {
        using StorageBench bench = new(_store, anchor: _anchor);
        _ = bench.Put("a", 1);
        _anchor.Fails = true;

        Assert.That(bench.Put("a", 2), Is.EqualTo(TeeReturnCode.StorageNotAvailable));
        Assert.That(bench.Get("a", out _), Is.EqualTo(TeeReturnCode.StorageNotAvailable));
        _anchor.Fails = false;
        Assert.That(bench.Get("a", out byte[] data), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(data, Is.EqualTo([2]));
    }

    [Test]
    public void Open_CrashBetweenCommitAndAdvance_IsNoRollback()
    {
        _ = Write(1);
        using StorageBench bench = new(_store, anchor: _anchor);
        Assert.That(bench.Get("a", out _), Is.EqualTo(TeeReturnCode.Success));
        _anchor.Fails = true;
        Assert.That(bench.Put("a", 2), Is.EqualTo(TeeReturnCode.StorageNotAvailable));
        _anchor.Fails = false;

        Assert.That(Read(_store, out byte[] data), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(data, Is.EqualTo([2]));
    }

    // The commit that was not acknowledged must not come back under the counter of a later one.
    [Test]
    public void Open_UnacknowledgedCommitPutBackAfterAnother_CorruptObject()
    {
        using (StorageBench bench = new(_store, anchor: _anchor))
        {
            _ = bench.Put("a", 1);
            (var records, var roots) = (_store.Records, _store.Roots);
            _anchor.Fails = true;
            _ = bench.Put("a", 2);
            _anchor.Fails = false;
            MemoryStore unacknowledged = new();
            CopyTo(unacknowledged, _store.Records, _store.Roots);
            MemoryStore older = new();
            CopyTo(older, records, roots);
            using StorageBench later = new(older, anchor: _anchor);
            Assert.That(later.Put("a", 3), Is.EqualTo(TeeReturnCode.Success));

            Assert.That(Read(unacknowledged, out _), Is.EqualTo(TeeReturnCode.CorruptObject));
        }
    }

    [TestCase(true)]
    [TestCase(false)]
    public void Write_OutcomeOfTheCommitUnknown_NextOperationFindsIt(bool tookEffect)
    {
        using StorageBench bench = new(_store, anchor: _anchor);
        _ = bench.Put("a", 1);
        Action fail = () => throw new TeeStoreException("The connection is lost.");
        Action pass = () => { };
        (_store.BeforeCommit, _store.AfterCommit) = tookEffect ? (pass, fail) : (fail, pass);

        Assert.That(bench.Put("a", 2), Is.EqualTo(TeeReturnCode.StorageNotAvailable));
        (_store.BeforeCommit, _store.AfterCommit) = (pass, pass);
        Assert.That(bench.Get("a", out byte[] data), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(data, Is.EqualTo(tookEffect ? [2] : (byte[])[1]));
        Assert.That(bench.Put("a", 3), Is.EqualTo(TeeReturnCode.Success));
    }

    [Test]
    public void Write_AnotherHostHasOpenedTheVm_WritesNothing()
    {
        using StorageBench first = new(_store);
        _ = first.Put("a", 1);
        using StorageBench second = new(_store);
        _ = second.Put("a", 2);

        Assert.That(first.Put("a", 3), Is.EqualTo(TeeReturnCode.StorageNotAvailable));
        Assert.That(second.Get("a", out byte[] data), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(data, Is.EqualTo([2]));
    }

    [Test]
    public void Open_WrongKey_NotAvailableAndTheOperatorIsTold()
    {
        _ = Write(1);
        using StorageBench bench = new(_store, new FixedKey(2));

        Assert.That(bench.Get("a", out _), Is.EqualTo(TeeReturnCode.StorageNotAvailable));
        Assert.That(bench.Get("a", out _), Is.EqualTo(TeeReturnCode.StorageNotAvailable));
        Assert.That(bench.Logger.Messages.Single(), Does.Contain("root key is not the one"));
    }

    private static void CopyTo(
        MemoryStore store,
        Dictionary<(Guid Machine, TeeStoreKey Key), TeeStoreRecord> records,
        Dictionary<Guid, TeeStoreRecord> roots)
    {
        foreach (var record in records)
        {
            store.Records.Add(record.Key, record.Value);
        }

        foreach (var root in roots)
        {
            store.Roots.Add(root.Key, root.Value);
        }
    }

    private TeeReturnCode Write(byte value)
    {
        using StorageBench bench = new(_store, anchor: _anchor);
        return bench.Put("a", value);
    }

    private TeeReturnCode Read(MemoryStore store, out byte[] data)
    {
        using StorageBench bench = new(store, anchor: _anchor);
        return bench.Get("a", out data);
    }
}
