using Microsoft.Data.Sqlite;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Sqlite;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.StorageTests;

/// <summary>What SQLite's file goes through: tampering, failures and crashes.</summary>
[FixtureLifeCycle(LifeCycle.InstancePerTestCase)]
internal sealed class SqliteTests
{
    private static readonly string[] Tables = ["root", "record"];

    private readonly string _folder = Directory.CreateTempSubdirectory("storage-tests.").FullName;

    private string Database => Path.Combine(_folder, "store.db");

    [TearDown]
    public void TearDown() => Directory.Delete(_folder, recursive: true);

    [Test]
    public void Store_Contract_Holds() => StoreContract.Check(new SqliteTeeStore(Database));

    [Test]
    public void Object_VmStartsAgain_IsThere()
    {
        byte[] data = StorageBench.Pattern(50_000, 1);
        Write(data);

        Assert.That(Read(out byte[] read), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(read, Is.EqualTo(data));
        Assert.That(File.GetUnixFileMode(Database), Is.EqualTo(UnixFileMode.UserRead | UnixFileMode.UserWrite));
    }

    // Every bit of numbers but the sign, and one bit each of eight bytes of blobs.
    [Test]
    public void Column_OneBitFlipped_IsNoticed()
    {
        Write(StorageBench.Pattern(17_000, 1));
        int flips = 0;
        foreach ((string table, string[] columns) in new[]
        {
            ("root", new[] { "vm", "version", "data" }),
            ("record", ["vm", "application", "object", "part", "version", "data"]),
        })
        {
            foreach (long row in Query<long>($"SELECT rowid FROM {table}"))
            {
                foreach (string column in columns)
                {
                    string place = $"{table} SET {column} = $value WHERE rowid = {row}";
                    object value = Query<object>($"SELECT {column} FROM {table} WHERE rowid = {row}").Single();
                    foreach (object changed in Flips(value))
                    {
                        if (Execute($"UPDATE OR IGNORE {place}", changed) == 0)
                        {
                            // The flipped key is that of another row, which the database itself refuses.
                            continue;
                        }

                        Assert.That(Read(out _), Is.Not.EqualTo(TeeReturnCode.Success), $"{place}: {changed}");
                        flips++;
                    }

                    Execute($"UPDATE {place}", value);
                }
            }
        }

        Assert.That(flips, Is.GreaterThan(100));
        Assert.That(Read(out _), Is.EqualTo(TeeReturnCode.Success));
    }

    [TestCase("fence = fence + 1")]
    [TestCase("vm = zeroblob(16)")]
    public void Lease_Changed_TheHolderWritesNothingAndNothingIsLost(string change)
    {
        using (StorageBench holder = Bench())
        {
            Assert.That(holder.Put("a", 1), Is.EqualTo(TeeReturnCode.Success));
            Assert.That(Execute($"UPDATE lease SET {change}", null), Is.EqualTo(1));
            Assert.That(holder.Put("a", 2), Is.EqualTo(TeeReturnCode.StorageNotAvailable));
            Assert.That(holder.Get("a", out _), Is.EqualTo(TeeReturnCode.StorageNotAvailable));
        }

        Assert.That(Read(out byte[] data), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(data, Is.EqualTo([1]));
    }

    [Test]
    public void Header_OneBitFlipped_TheVmmDoesNotStart([Values("application_id", "user_version")] string field)
    {
        Write([1]);
        long value = Query<long>($"PRAGMA {field}").Single();
        for (int bit = 0; bit < 31; bit++)
        {
            _ = Execute($"PRAGMA {field} = {value ^ (1L << bit)}", null);
            Assert.That(() => new SqliteTeeStore(Database), Throws.TypeOf<TeeStoreException>()
                .With.Property(nameof(TeeStoreException.Failure)).EqualTo(TeeStoreFailure.ForeignSchema));
        }

        _ = Execute($"PRAGMA {field} = {value}", null);
        Assert.That(Read(out _), Is.EqualTo(TeeReturnCode.Success));
    }

    [Test]
    public void Rows_SwappedDeletedOrPutBack_AreNoticed()
    {
        Write(StorageBench.Pattern(50_000, 1));
        List<(string Table, long Row, long Version, byte[] Data)> old = Rows();
        using (StorageBench bench = Bench())
        {
            using TrustedObject handle = bench.Open("a");
            Assert.That(handle.Write(StorageBench.Pattern(50_000, 2)), Is.EqualTo(TeeReturnCode.Success));
        }

        List<(string Table, long Row, long Version, byte[] Data)> rows = Rows();
        Assert.That(rows, Has.Count.EqualTo(old.Count).And.Count.GreaterThan(5));
        foreach (var row in rows)
        {
            Put(old.Single(other => (other.Table, other.Row) == (row.Table, row.Row)));
            Assert.That(Read(out _), Is.EqualTo(TeeReturnCode.CorruptObject), $"{row.Table} {row.Row} put back");
            Put(row);
            foreach (var other in rows.Where(other => other.Table == row.Table && other.Row != row.Row))
            {
                Put(row with { Data = other.Data, Version = other.Version });
                Put(other with { Data = row.Data, Version = row.Version });
                Assert.That(Read(out _), Is.EqualTo(TeeReturnCode.CorruptObject), $"{row.Row}, {other.Row} swapped");
                Put(row);
                Put(other);
            }

            Execute($"CREATE TABLE saved AS SELECT * FROM {row.Table} WHERE rowid = {row.Row}", null);
            Execute($"DELETE FROM {row.Table} WHERE rowid = {row.Row}", null);
            Assert.That(Read(out _), Is.EqualTo(TeeReturnCode.CorruptObject), $"{row.Table} {row.Row} deleted");
            string columns = row.Table == "root" ? "vm, version, data" : "vm, application, object, part, version, data";
            Execute(
                $"INSERT INTO {row.Table} (rowid, {columns}) SELECT {row.Row}, {columns} FROM saved; DROP TABLE saved",
                null);
        }

        Assert.That(Read(out _), Is.EqualTo(TeeReturnCode.Success));
    }

    [Test]
    public void File_OlderOnePutBack_IsNoticedWithACounter()
    {
        FakeAnchor anchor = new();
        Write([1], anchor);
        File.Copy(Database, Database + ".old");
        Write([2], anchor);
        File.Copy(Database + ".old", Database, overwrite: true);

        Assert.That(Read(out _, anchor), Is.EqualTo(TeeReturnCode.CorruptObject));
    }

    [Test]
    public void Constructor_ForeignNewerOrNoDatabase_ThrowsWithThePath()
    {
        File.WriteAllText(Database, "This is no database, but long enough to have a header.".PadRight(200));
        AssertRefused(TeeStoreFailure.Corrupt, "is no SQLite database");
        File.Delete(Database);
        Execute("CREATE TABLE other (value INTEGER)", null);
        AssertRefused(TeeStoreFailure.ForeignSchema, "another program");
        Execute($"PRAGMA application_id = {SqliteApplicationId}; PRAGMA user_version = 2", null);
        AssertRefused(TeeStoreFailure.ForeignSchema, "schema version 2");
        Assert.That(
            () => new SqliteTeeStore(Path.Combine(_folder, "missing", "store.db")),
            Throws.TypeOf<TeeStoreException>().With.Message.Contains("missing"));
    }

    [Test]
    public void Write_DiskFull_NoSpaceAndTheOldVersionStays()
    {
        Write([1]);
        using StorageBench bench = Bench(out SqliteConnectionLimit limit);
        Assert.That(bench.Get("a", out _), Is.EqualTo(TeeReturnCode.Success));
        limit.Apply();

        Assert.That(bench.Put("a", new byte[4 << 20]), Is.EqualTo(TeeReturnCode.StorageNoSpace));
        Assert.That(bench.Get("a", out byte[] data), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(data, Is.EqualTo([1]));
        Assert.That(bench.Logger.Messages.Single(), Does.Contain("disk is full"));
    }

    [Test]
    public void Write_AnotherProcessHasOpenedTheVm_WritesNothing()
    {
        using StorageBench first = Bench();
        Assert.That(first.Put("a", 1), Is.EqualTo(TeeReturnCode.Success));
        Write([2]);

        Assert.That(first.Put("a", 3), Is.EqualTo(TeeReturnCode.StorageNotAvailable));
        Assert.That(first.Logger.Messages.Single(), Does.Contain("opened for this VM by another process"));
        Assert.That(Read(out byte[] data), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(data, Is.EqualTo([2]));
    }

    private const int SqliteApplicationId = 0x4f54_4d53;

    private static IEnumerable<object> Flips(object value)
    {
        if (value is long number)
        {
            return Enumerable.Range(0, 63).Select(bit => (object)(number ^ (1L << bit)));
        }

        byte[] bytes = (byte[])value;
        int step = Math.Max(1, bytes.Length / 8);
        return Enumerable.Range(0, bytes.Length).Where(index => index % step == 0).Select(index =>
        {
            byte[] copy = [.. bytes];
            copy[index] ^= (byte)(1 << (index % 8));
            return (object)copy;
        });
    }

    private void AssertRefused(TeeStoreFailure failure, string text) => Assert.That(
        () => new SqliteTeeStore(Database),
        Throws.TypeOf<TeeStoreException>()
            .With.Message.Contains(text).And.Message.Contains(Database)
            .And.Property(nameof(TeeStoreException.Failure)).EqualTo(failure));

    private StorageBench Bench(FakeAnchor? anchor = null) => new(new SqliteTeeStore(Database), anchor: anchor);

    private StorageBench Bench(out SqliteConnectionLimit limit)
    {
        limit = new SqliteConnectionLimit(new SqliteTeeStore(Database));
        return new StorageBench(limit);
    }

    private void Write(byte[] data, FakeAnchor? anchor = null)
    {
        using StorageBench bench = Bench(anchor);
        Assert.That(bench.Put("a", data), Is.EqualTo(TeeReturnCode.Success));
    }

    private TeeReturnCode Read(out byte[] data, FakeAnchor? anchor = null)
    {
        using StorageBench bench = Bench(anchor);
        return bench.Get("a", out data);
    }

    private List<(string Table, long Row, long Version, byte[] Data)> Rows() =>
    [
        .. from table in Tables
           from row in Query<long>($"SELECT rowid FROM {table} ORDER BY rowid")
           select (
               table,
               row,
               Query<long>($"SELECT version FROM {table} WHERE rowid = {row}").Single(),
               Query<byte[]>($"SELECT data FROM {table} WHERE rowid = {row}").Single()),
    ];

    private void Put((string Table, long Row, long Version, byte[] Data) row) => Execute(
        $"UPDATE {row.Table} SET version = {row.Version}, data = $value WHERE rowid = {row.Row}", row.Data);

    private List<T> Query<T>(string text)
    {
        using SqliteConnection connection = Connect();
        using SqliteCommand command = connection.CreateCommand();
        command.CommandText = text;
        using SqliteDataReader reader = command.ExecuteReader();
        List<T> values = [];
        while (reader.Read())
        {
            values.Add((T)reader.GetValue(0));
        }

        return values;
    }

    private int Execute(string text, object? value)
    {
        using SqliteConnection connection = Connect();
        using SqliteCommand command = connection.CreateCommand();
        command.CommandText = text;
        if (value is not null)
        {
            _ = command.Parameters.AddWithValue("$value", value);
        }

        return command.ExecuteNonQuery();
    }

    private SqliteConnection Connect()
    {
        SqliteConnection connection = new($"Data Source={Database};Pooling=False");
        connection.Open();
        return connection;
    }
}
