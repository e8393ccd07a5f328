using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Storage;
using static OpTeeMediator.SoftwareTee.Storage.TrustedObjectFlags;

namespace OpTeeMediator.StorageTests;

/// <summary>GlobalPlatform's semantics of objects.</summary>
[FixtureLifeCycle(LifeCycle.InstancePerTestCase)]
internal sealed class TrustedStorageTests
{
    private readonly MemoryStore _store = new();
    private StorageBench _bench = null!;

    [SetUp]
    public void SetUp() => _bench = new StorageBench(_store);

    [TearDown]
    public void TearDown() => _bench.Dispose();

    [Test]
    public void Open_NoSuchObject_ItemNotFound() =>
        Assert.That(_bench.Storage.Open("a"u8, AccessRead, out _), Is.EqualTo(TeeReturnCode.ItemNotFound));

    [TestCase(0, TeeReturnCode.Success)]
    [TestCase(64, TeeReturnCode.Success)]
    [TestCase(65, TeeReturnCode.BadParameters)]
    public void Create_IdOfALength_AnswersByIt(int length, TeeReturnCode code) =>
        Assert.That(_bench.Storage.Create(new byte[length], All, [1], out _), Is.EqualTo(code));

    [Test]
    public void Object_AfterTheVmHasStartedAgain_IsAsItWasWritten()
    {
        byte[] data = StorageBench.Pattern(100_000, 1);
        Assert.That(_bench.Put("a", data), Is.EqualTo(TeeReturnCode.Success));

        using StorageBench again = new(_store);

        Assert.That(again.Get("a", out byte[] read), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(read, Is.EqualTo(data));
    }

    [Test]
    public void Create_ObjectExists_AccessConflictUnlessOverwritten()
    {
        _ = _bench.Put("a", 1);

        Assert.That(_bench.Storage.Create("a"u8, All, [2], out _), Is.EqualTo(TeeReturnCode.AccessConflict));
        Assert.That(_bench.Put("a", 3), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(_bench.Get("a", out byte[] data), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(data, Is.EqualTo([3]));
    }

    [Test]
    public void Create_ObjectIsOpen_AccessConflict()
    {
        _ = _bench.Put("a", 1);
        using TrustedObject handle = _bench.Open("a");

        Assert.That(_bench.Put("a", 2), Is.EqualTo(TeeReturnCode.AccessConflict));
    }

    // GlobalPlatform TEE Internal Core API 1.3, "Effect of TEE_DATA_FLAG_… when opening objects".
    [TestCase(AccessRead, AccessRead, false)]
    [TestCase(AccessRead | ShareRead, AccessRead, false)]
    [TestCase(AccessRead | ShareRead, AccessRead | ShareRead, true)]
    [TestCase(AccessRead | ShareRead, AccessWrite | ShareWrite, false)]
    [TestCase(AccessRead | ShareRead | ShareWrite, AccessWrite | ShareRead | ShareWrite, true)]
    [TestCase(AccessRead | ShareRead, AccessWrite | ShareRead | ShareWrite, false)]
    [TestCase(AccessWrite | ShareWrite, AccessWrite | ShareWrite, true)]
    [TestCase(AccessWriteMeta, None, false)]
    [TestCase(ShareRead, AccessWrite | ShareWrite, false)]
    [TestCase(None, AccessRead | ShareRead, false)]
    [TestCase(AccessWriteMeta | ShareRead | ShareWrite, AccessRead | ShareRead | ShareWrite, false)]
    public void Open_AnotherHandleIsOpen_AccessConflictUnlessBothShare(
        TrustedObjectFlags first, TrustedObjectFlags second, bool shares)
    {
        _ = _bench.Put("a", 1);
        using TrustedObject handle = _bench.Open("a", first);

        TeeReturnCode code = _bench.Of(StorageBench.Application).Open("a"u8, second, out TrustedObject? other);
        other?.Dispose();

        Assert.That(code, Is.EqualTo(shares ? TeeReturnCode.Success : TeeReturnCode.AccessConflict));
    }

    [Test]
    public void ReadWriteRenameDelete_WithoutTheFlag_AccessConflict()
    {
        _ = _bench.Put("a", 1);
        using TrustedObject handle = _bench.Open("a", None);

        Assert.That(handle.Read(new byte[1], out _), Is.EqualTo(TeeReturnCode.AccessConflict));
        Assert.That(handle.Write([1]), Is.EqualTo(TeeReturnCode.AccessConflict));
        Assert.That(handle.Truncate(0), Is.EqualTo(TeeReturnCode.AccessConflict));
        Assert.That(handle.Rename("b"u8), Is.EqualTo(TeeReturnCode.AccessConflict));
        Assert.That(handle.Delete(), Is.EqualTo(TeeReturnCode.AccessConflict));
    }

    [Test]
    public void Rename_ToATakenId_AccessConflict()
    {
        _ = _bench.Put("a", 1);
        _ = _bench.Put("b", 2);
        using TrustedObject handle = _bench.Open("a");

        Assert.That(handle.Rename("b"u8), Is.EqualTo(TeeReturnCode.AccessConflict));
        Assert.That(handle.Rename("c"u8), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(_bench.Get("a", out _), Is.EqualTo(TeeReturnCode.ItemNotFound));
        Assert.That(handle.Read(new byte[1], out int count), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(count, Is.EqualTo(1));
    }

    [Test]
    public void Delete_OpenObject_LeavesNoRecordsAndClosesTheHandle()
    {
        _ = _bench.Put("a", StorageBench.Pattern(50_000, 1));
        using TrustedObject handle = _bench.Open("a");

        Assert.That(handle.Delete(), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(handle.GetSize(out _), Is.EqualTo(TeeReturnCode.BadState));
        Assert.That(_store.Records, Has.Count.EqualTo(1), "the directory alone");
    }

    // Compared with an array, over the borders of chunks.
    [Test]
    public void Object_ManyWritesSeeksAndTruncations_ContainsWhatAnArrayWould()
    {
        Random random = new(7);
        List<byte> expected = [];
        _ = _bench.Put("a");
        using TrustedObject handle = _bench.Open("a");
        for (int turn = 0; turn < 200; turn++)
        {
            int position = random.Next(60_000);
            if (random.Next(4) == 0)
            {
                Assert.That(handle.Truncate(position), Is.EqualTo(TeeReturnCode.Success));
                expected = [.. expected.Take(position)];
                expected.AddRange(new byte[position - expected.Count]);
            }
            else
            {
                byte[] data = StorageBench.Pattern(random.Next(40_000), turn);
                Assert.That(handle.Seek(position, SeekOrigin.Begin), Is.EqualTo(TeeReturnCode.Success));
                Assert.That(handle.Write(data), Is.EqualTo(TeeReturnCode.Success));
                if (data.Length > 0 || expected.Count < position)
                {
                    expected.AddRange(new byte[Math.Max(0, position + data.Length - expected.Count)]);
                }

                for (int index = 0; index < data.Length; index++)
                {
                    expected[position + index] = data[index];
                }
            }

            byte[] read = new byte[110_000];
            _ = handle.Seek(0, SeekOrigin.Begin);
            Assert.That(handle.Read(read, out int count), Is.EqualTo(TeeReturnCode.Success));
            Assert.That(read.AsSpan(0, count).SequenceEqual(expected.ToArray()), Is.True, $"turn {turn}");
        }
    }

    [Test]
    public void Write_OneByteOfALargeObject_WritesThreeRecords()
    {
        _ = _bench.Put("a", StorageBench.Pattern(4 << 20, 1));
        using TrustedObject handle = _bench.Open("a");
        int before = _store.Writes;

        Assert.That(handle.Seek(1 << 20, SeekOrigin.Begin), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(handle.Write([1]), Is.EqualTo(TeeReturnCode.Success));

        Assert.That(_store.Writes - before, Is.EqualTo(3), "chunk, head and directory, beside the root");
    }

    [Test]
    public void Seek_BeforeTheBeginningOrTooFar_ZeroOrOverflow()
    {
        _ = _bench.Put("a", 1, 2, 3);
        using TrustedObject handle = _bench.Open("a");

        Assert.That(handle.Seek(-1, SeekOrigin.End), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(handle.Position, Is.EqualTo(2));
        Assert.That(handle.Seek(-9, SeekOrigin.Current), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(handle.Position, Is.Zero);
        Assert.That(handle.Seek(TrustedStorage.MaximumPosition, SeekOrigin.Begin), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(handle.Seek(1, SeekOrigin.Current), Is.EqualTo(TeeReturnCode.Overflow));
        Assert.That(handle.Read(new byte[1], out int count), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(count, Is.Zero);
        Assert.That(handle.Write([1]), Is.EqualTo(TeeReturnCode.Overflow));
    }

    [Test]
    public void Create_BeyondTheQuota_NoSpaceAndNothingChanged()
    {
        using StorageBench small = new(_store, quota: 1000);

        Assert.That(small.Put("a", new byte[700]), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(small.Put("b", new byte[100]), Is.EqualTo(TeeReturnCode.StorageNoSpace));
        using TrustedObject handle = small.Open("a");
        Assert.That(handle.Truncate(TrustedStorage.MaximumPosition), Is.EqualTo(TeeReturnCode.StorageNoSpace));
        Assert.That(handle.GetSize(out long size), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(size, Is.EqualTo(700));
    }

    [Test]
    public void Objects_OfAnotherApplicationOrVm_AreNotSeen()
    {
        _ = _bench.Put("a", 1);
        using StorageBench other = new(_store, machine: Guid.NewGuid());

        Assert.That(
            _bench.Of(Guid.NewGuid()).Open("a"u8, AccessRead, out _), Is.EqualTo(TeeReturnCode.ItemNotFound));
        Assert.That(other.Get("a", out _), Is.EqualTo(TeeReturnCode.ItemNotFound));
    }

    [Test]
    public void Enumerate_SomeObjects_ListsIdsAndSizes()
    {
        _ = _bench.Put("a", 1);
        _ = _bench.Put("b", 1, 2);

        Assert.That(_bench.Storage.Enumerate(out IReadOnlyList<TrustedObjectInfo> found),
            Is.EqualTo(TeeReturnCode.Success));
        Assert.That(
            found.Select(info => (info.Id.ToArray()[0], info.Size)), Is.EqualTo([((byte)'a', 1L), ((byte)'b', 2L)]));
    }

    [Test]
    public void Store_AfterWriting_ContainsNeitherIdNorData()
    {
        byte[] name = StorageBench.Bytes("the name of an object");
        _ = _bench.Storage.Create(name, None, name, out _);

        Assert.That(
            _store.Records.Values.Concat(_store.Roots.Values).Any(record => record.Data.Span.IndexOf(name) >= 0),
            Is.False);
    }

    [Test]
    public void MemoryStore_Contract_Holds() => StoreContract.Check(_store);

    [Test]
    public void Storage_NoStore_NotAvailable() =>
        Assert.That(TrustedStorage.None.Open("a"u8, None, out _), Is.EqualTo(TeeReturnCode.StorageNotAvailable));

    private const TrustedObjectFlags All = StorageBench.All;
}
