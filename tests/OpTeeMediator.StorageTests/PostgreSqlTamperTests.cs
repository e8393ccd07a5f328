using Npgsql;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.PostgreSql;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.StorageTests;

/// <summary>Bits flipped in every column of every table of a PostgreSQL store.</summary>
internal sealed class PostgreSqlTamperTests
{
    private PostgreSqlServer _server = null!;
    private NpgsqlConnection _connection = null!;

    [OneTimeSetUp]
    public void StartServer()
    {
        _server = PostgreSqlServer.StartNew();
        using (PostgreSqlTeeStore store = new(_server.ConnectionString))
        {
        }

        _connection = new NpgsqlConnection(_server.ConnectionString);
        _connection.Open();
    }

    [OneTimeTearDown]
    public void StopServer()
    {
        _connection?.Dispose();
        _server?.Dispose();
    }

    // A key that is flipped to that of another row the database refuses itself.
    [TestCase("root", "vm,version,data")]
    [TestCase("record", "vm,application,object,part,version,data")]
    public void Column_OneBitFlipped_IsNoticed(string table, string columns)
    {
        using PostgreSqlTeeStore store = new(_server.ConnectionString);
        Guid machine = Guid.NewGuid();
        byte[] data = StorageBench.Pattern(17_000, 1);
        Write(store, machine, data);
        int flips = 0;
        foreach (object row in Query($"SELECT ctid::text FROM opteemediator.{table} WHERE vm = '{machine}'"))
        {
            // An update moves the row, so that it is named by its bytes.
            byte[] content = (byte[])Query($"SELECT data FROM opteemediator.{table} WHERE ctid = '{row}'").Single();
            foreach (string column in columns.Split(','))
            {
                object value = Query(
                    $"SELECT {column} FROM opteemediator.{table} WHERE data = $1", content).Single();
                foreach (object changed in Flips(value))
                {
                    byte[] changedContent = column == "data" ? (byte[])changed : content;
                    try
                    {
                        Execute($"UPDATE opteemediator.{table} SET {column} = $1 WHERE data = $2", changed, content);
                    }
                    catch (PostgresException exception)
                        when (exception.SqlState == PostgresErrorCodes.UniqueViolation)
                    {
                        continue;
                    }

                    Assert.That(
                        Read(store, machine, out _), Is.Not.EqualTo(TeeReturnCode.Success), $"{column}: {changed}");
                    Execute($"UPDATE opteemediator.{table} SET {column} = $1 WHERE data = $2", value, changedContent);
                    flips++;
                }
            }
        }

        Assert.That(flips, Is.GreaterThan(50));
        Assert.That(Read(store, machine, out byte[] read), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(read, Is.EqualTo(data));
    }

    [TestCase("fence")]
    [TestCase("vm")]
    public void Lease_OneBitFlipped_TheHolderWritesNothingAndNothingIsLost(string column)
    {
        using PostgreSqlTeeStore store = new(_server.ConnectionString);
        Guid machine = Guid.NewGuid();
        Write(store, machine, [1]);
        using (StorageBench holder = new(store, machine: machine))
        {
            Assert.That(holder.Get("a", out _), Is.EqualTo(TeeReturnCode.Success));
            object value = Query($"SELECT {column} FROM opteemediator.lease WHERE vm = '{machine}'").Single();
            Execute($"UPDATE opteemediator.lease SET {column} = $1 WHERE vm = $2", Flips(value).First(), machine);
            Assert.That(holder.Put("a", 2), Is.EqualTo(TeeReturnCode.StorageNotAvailable));
            Assert.That(holder.Get("a", out _), Is.EqualTo(TeeReturnCode.StorageNotAvailable));
            Assert.That(holder.Logger.Messages.Single(), Does.Contain("Another host"));
        }

        Assert.That(Read(store, machine, out byte[] read), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(read, Is.EqualTo([1]));
    }

    [Test]
    public void SchemaVersion_OneBitFlipped_TheVmmDoesNotStart()
    {
        foreach (object changed in Flips(1))
        {
            Execute("UPDATE opteemediator.schema_version SET version = $1", changed);
            Assert.That(
                () => new PostgreSqlTeeStore(_server.ConnectionString),
                Throws.TypeOf<TeeStoreException>()
                    .With.Property(nameof(TeeStoreException.Failure)).EqualTo(TeeStoreFailure.ForeignSchema)
                    .And.Message.Contains($"version {changed}"));
        }

        Execute("UPDATE opteemediator.schema_version SET version = $1", 1);
    }

    // Every bit of numbers but the sign, and one bit each of eight bytes of identities and blobs.
    private static IEnumerable<object> Flips(object value) => value switch
    {
        int number => Enumerable.Range(0, 31).Select(bit => (object)(number ^ (1 << bit))),
        long number => Enumerable.Range(0, 63).Select(bit => (object)(number ^ (1L << bit))),
        Guid identity => FlipBytes(identity.ToByteArray()).Select(bytes => (object)new Guid(bytes)),
        _ => FlipBytes((byte[])value),
    };

    private static IEnumerable<byte[]> FlipBytes(byte[] bytes) => Enumerable.Range(0, 8).Select(part =>
    {
        byte[] copy = [.. bytes];
        copy[part * bytes.Length / 8] ^= (byte)(1 << part);
        return copy;
    });

    private static void Write(ITeeStore store, Guid machine, byte[] data)
    {
        using StorageBench bench = new(store, machine: machine);
        Assert.That(bench.Put("a", data), Is.EqualTo(TeeReturnCode.Success));
    }

    private static TeeReturnCode Read(ITeeStore store, Guid machine, out byte[] data)
    {
        using StorageBench bench = new(store, machine: machine);
        return bench.Get("a", out data);
    }

    private List<object> Query(string text, params object[] values)
    {
        using NpgsqlCommand command = CreateCommand(text, values);
        using NpgsqlDataReader reader = command.ExecuteReader();
        List<object> results = [];
        while (reader.Read())
        {
            results.Add(reader.GetValue(0));
        }

        return results;
    }

    private void Execute(string text, params object[] values)
    {
        using NpgsqlCommand command = CreateCommand(text, values);
        Assert.That(command.ExecuteNonQuery(), Is.EqualTo(1), text);
    }

    private NpgsqlCommand CreateCommand(string text, object[] values)
    {
        NpgsqlCommand command = new(text, _connection);
        foreach (object value in values)
        {
            _ = command.Parameters.Add(new NpgsqlParameter { Value = value });
        }

        return command;
    }
}
