using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.StorageTests;

/// <summary>The persistent time of an application.</summary>
[FixtureLifeCycle(LifeCycle.InstancePerTestCase)]
internal sealed class PersistentTimeTests
{
    private readonly MemoryStore _store = new();
    private readonly Clock _clock = new();

    [Test]
    public void GetPersistentTime_NeverSet_ReturnsTimeNotSet()
    {
        using StorageBench bench = new(_store, time: _clock);

        Assert.That(Get(bench.Storage), Is.EqualTo((TeeReturnCode.TimeNotSet, TimeSpan.Zero)));
    }

    [Test]
    public void GetPersistentTime_AfterARestart_HasGoneOnByTheHostsClock()
    {
        using (StorageBench first = new(_store, time: _clock))
        {
            Assert.That(first.Storage.SetPersistentTime(TimeSpan.FromSeconds(100)), Is.EqualTo(TeeReturnCode.Success));
            Assert.That(first.Storage.SetPersistentTime(TimeSpan.FromSeconds(50)), Is.EqualTo(TeeReturnCode.Success));
        }

        _clock.Now += TimeSpan.FromMilliseconds(7500);
        using StorageBench second = new(_store, time: _clock);

        Assert.That(Get(second.Storage), Is.EqualTo((TeeReturnCode.Success, TimeSpan.FromMilliseconds(57_500))));
        Assert.That(Get(second.Of(Guid.NewGuid())).Code, Is.EqualTo(TeeReturnCode.TimeNotSet), "another application");
    }

    [Test]
    public void GetPersistentTime_HostsClockWentBack_ReturnsTimeNeedsResetUntilSet()
    {
        using StorageBench bench = new(_store, time: _clock);
        _ = bench.Storage.SetPersistentTime(TimeSpan.FromSeconds(100));

        _clock.Now -= TimeSpan.FromTicks(1);

        Assert.That(Get(bench.Storage), Is.EqualTo((TeeReturnCode.TimeNeedsReset, TimeSpan.Zero)));
        _ = bench.Storage.SetPersistentTime(TimeSpan.FromSeconds(7));
        Assert.That(Get(bench.Storage), Is.EqualTo((TeeReturnCode.Success, TimeSpan.FromSeconds(7))));
    }

    [Test]
    public void GetPersistentTime_SecondsOverflow_ReturnsOverflowAndTheSecondsModulo32Bits()
    {
        using StorageBench bench = new(_store, time: _clock);
        _ = bench.Storage.SetPersistentTime(TimeSpan.FromSeconds(uint.MaxValue));

        _clock.Now += TimeSpan.FromSeconds(0.5);
        (TeeReturnCode Code, TimeSpan Time) last = Get(bench.Storage);
        _clock.Now += TimeSpan.FromSeconds(3);

        Assert.That(last, Is.EqualTo((TeeReturnCode.Success, TimeSpan.FromSeconds(uint.MaxValue + 0.5))));
        Assert.That(Get(bench.Storage), Is.EqualTo((TeeReturnCode.Overflow, TimeSpan.FromSeconds(2.5))));
    }

    [Test]
    public void GetPersistentTime_RecordChanged_ReturnsTimeNeedsReset()
    {
        using StorageBench bench = new(_store, time: _clock);
        _ = bench.Storage.SetPersistentTime(TimeSpan.FromSeconds(1));
        foreach ((Guid Machine, TeeStoreKey Key) key in _store.Records.Keys.Where(key => key.Key.Object != default))
        {
            byte[] data = _store.Records[key].Data.ToArray();
            data[^1] ^= 1;
            _store.Records[key] = new TeeStoreRecord(_store.Records[key].Version, data);
        }

        Assert.That(Get(bench.Storage).Code, Is.EqualTo(TeeReturnCode.TimeNeedsReset));
        Assert.That(bench.Storage.SetPersistentTime(TimeSpan.Zero), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(Get(bench.Storage).Code, Is.EqualTo(TeeReturnCode.Success));
    }

    [Test]
    public void SetPersistentTime_OutOfRange_Throws()
    {
        using StorageBench bench = new(_store, time: _clock);

        Assert.That(
            () => bench.Storage.SetPersistentTime(TimeSpan.FromTicks(-1)),
            Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(
            () => bench.Storage.SetPersistentTime(TimeSpan.FromSeconds(uint.MaxValue + 1.0)),
            Throws.InstanceOf<ArgumentOutOfRangeException>());
    }

    [Test]
    public void SetPersistentTime_NoSpace_KeepsTheEarlierTime()
    {
        using StorageBench bench = new(_store, quota: 600, time: _clock);
        _ = bench.Storage.SetPersistentTime(TimeSpan.FromSeconds(1));
        _ = bench.Put("object", new byte[40]);

        Assert.That(bench.Put("other"), Is.EqualTo(TeeReturnCode.StorageNoSpace));
        Assert.That(Get(bench.Storage), Is.EqualTo((TeeReturnCode.Success, TimeSpan.FromSeconds(1))));
    }

    [Test]
    public void Enumerate_TimeIsSet_IsNoObject()
    {
        using StorageBench bench = new(_store, time: _clock);
        _ = bench.Storage.SetPersistentTime(TimeSpan.Zero);
        _ = bench.Put("object");

        Assert.That(bench.Storage.Enumerate(out IReadOnlyList<TrustedObjectInfo> objects),
            Is.EqualTo(TeeReturnCode.Success));
        Assert.That(objects, Has.Count.EqualTo(1));
    }

    [TestCase(3, TeeReturnCode.Success)]
    [TestCase(2, TeeReturnCode.ExcessData)]
    public void ReadAll_Object_IsLimitedAndKeepsThePosition(int maximum, TeeReturnCode expected)
    {
        using StorageBench bench = new(_store);
        _ = bench.Put("object", 1, 2, 3);
        using TrustedObject handle = bench.Open("object");
        _ = handle.Seek(2, SeekOrigin.Begin);

        Assert.That(handle.ReadAll(maximum, out byte[] content), Is.EqualTo(expected));
        Assert.That(content, Is.EqualTo(expected == TeeReturnCode.Success ? new byte[] { 1, 2, 3 } : []));
        Assert.That(handle.Position, Is.EqualTo(2));
    }

    private static (TeeReturnCode Code, TimeSpan Time) Get(TrustedStorage storage) =>
        (storage.GetPersistentTime(out TimeSpan time), time);

    private sealed class Clock : TimeProvider
    {
        public DateTimeOffset Now { get; set; } = new(2030, 1, 2, 3, 4, 5, TimeSpan.Zero);

        public override DateTimeOffset GetUtcNow() => Now;
    }
}
