using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.PostgreSql;
using OpTeeMediator.SoftwareTee.Sqlite;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.StorageTests;

/// <summary>Real disks that are full or read-only, and a database that another process has locked.</summary>
internal sealed class DiskTests
{
    private static readonly byte[] Kept = StorageBench.Pattern(30_000, 1);

    [Test]
    public void Sqlite_DiskFull_NoSpaceAndNothingIsLost()
    {
        using SmallDisk disk = SmallDisk.Mount(2048);
        using StorageBench bench = new(new SqliteTeeStore(Path.Combine(disk.Path, "store.db")));
        Assert.That(bench.Put("kept", Kept), Is.EqualTo(TeeReturnCode.Success));
        disk.Fill(remaining: 50_000);
        AssertFullThenAsBefore(bench, disk, "disk is full");
    }

    [Test]
    public void PostgreSql_DiskFull_NoSpaceAndNothingIsLost()
    {
        using PostgreSqlServer server = PostgreSqlServer.StartNew();
        using SmallDisk disk = SmallDisk.Mount(4096);
        using PostgreSqlTeeStore store = new(server.ConnectionString);
        server.MoveRecordsTo(disk.Path);
        try
        {
            using StorageBench bench = new(store);
            Assert.That(bench.Put("kept", Kept), Is.EqualTo(TeeReturnCode.Success));
            disk.Fill(remaining: 50_000);
            AssertFullThenAsBefore(bench, disk, "disk is full");
        }
        finally
        {
            server.Crash();
            server.Start();
        }
    }

    [Test]
    public void Sqlite_DiskReadOnly_NotAvailableAndNothingIsLost()
    {
        using SmallDisk disk = SmallDisk.Mount(2048);
        string path = Path.Combine(disk.Path, "store.db");
        SqliteTeeStore store = new(path);
        using (StorageBench bench = new(store))
        {
            Assert.That(bench.Put("kept", Kept), Is.EqualTo(TeeReturnCode.Success));
        }

        disk.MakeReadOnly();
        using StorageBench again = new(store);
        Assert.That(again.Get("kept", out _), Is.EqualTo(TeeReturnCode.StorageNotAvailable));
        Assert.That(again.Put("kept", 2), Is.EqualTo(TeeReturnCode.StorageNotAvailable));
        Assert.That(
            again.Logger.Messages, Has.All.Contains(path).And.All.Contains("check").And.All.Not.Contains("damaged"));
        Assert.That(
            () => new SqliteTeeStore(path),
            Throws.TypeOf<TeeStoreException>().With.Message.Contains(path).And.Message.Contains("check"));

        disk.MakeWritable();
        Assert.That(again.Get("kept", out byte[] data), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(data, Is.EqualTo(Kept));
        Assert.That(again.Put("kept", 2), Is.EqualTo(TeeReturnCode.Success));
    }

    [Test]
    public void Sqlite_LockedByAnotherProcess_NotAvailableUntilItIsReleased()
    {
        string folder = Directory.CreateTempSubdirectory("storage-tests.").FullName;
        try
        {
            string path = Path.Combine(folder, "store.db");
            using StorageBench bench = new(new SqliteTeeStore(path));
            Assert.That(bench.Put("kept", Kept), Is.EqualTo(TeeReturnCode.Success));
            using (OtherProcess locker = new("lock", path))
            {
                locker.WaitForLines(1);
                Assert.That(bench.Put("kept", 2), Is.EqualTo(TeeReturnCode.StorageNotAvailable));
                string message = bench.Logger.Messages.Single();
                Assert.That(message, Does.Contain(path).And.Contains("locked by another process"));
                Assert.That(bench.Get("kept", out byte[] meanwhile), Is.EqualTo(TeeReturnCode.Success), "readers pass");
                Assert.That(meanwhile, Is.EqualTo(Kept));
            }

            Assert.That(bench.Put("kept", 2), Is.EqualTo(TeeReturnCode.Success));
            Assert.That(bench.Get("kept", out byte[] data), Is.EqualTo(TeeReturnCode.Success));
            Assert.That(data, Is.EqualTo([2]));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static void AssertFullThenAsBefore(StorageBench bench, SmallDisk disk, string message)
    {
        Assert.That(bench.Put("large", StorageBench.Pattern(1_000_000, 2)), Is.EqualTo(TeeReturnCode.StorageNoSpace));
        Assert.That(bench.Put("kept", StorageBench.Pattern(1_000_000, 3)), Is.EqualTo(TeeReturnCode.StorageNoSpace));
        Assert.That(bench.Logger.Messages, Has.All.Contains(message));
        Assert.That(bench.Get("kept", out byte[] data), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(data, Is.EqualTo(Kept));
        Assert.That(bench.Get("large", out _), Is.EqualTo(TeeReturnCode.ItemNotFound));

        disk.Empty();
        Assert.That(bench.Put("large", StorageBench.Pattern(300_000, 2)), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(bench.Get("kept", out data), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(data, Is.EqualTo(Kept));
    }
}
