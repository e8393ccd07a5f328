using Npgsql;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.PostgreSql;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.StorageTests;

/// <summary>Failures, leases and tampering with a real PostgreSQL server.</summary>
internal sealed class PostgreSqlTests
{
    private PostgreSqlServer _server = null!;

    [OneTimeSetUp]
    public void StartServer() => _server = PostgreSqlServer.StartNew();

    [OneTimeTearDown]
    public void StopServer() => _server?.Dispose();

    [Test]
    public void Write_AnotherHostHasOpenedTheVm_WritesNothing()
    {
        using PostgreSqlTeeStore store = new(_server.ConnectionString);
        using PostgreSqlTeeStore otherHost = new(_server.ConnectionString);
        Guid machine = Guid.NewGuid();
        using StorageBench first = new(store, machine: machine);
        Assert.That(first.Put("a", 1), Is.EqualTo(TeeReturnCode.Success));
        using StorageBench second = new(otherHost, machine: machine);
        Assert.That(second.Put("a", 2), Is.EqualTo(TeeReturnCode.Success));

        Assert.That(first.Put("a", 3), Is.EqualTo(TeeReturnCode.StorageNotAvailable));
        Assert.That(first.Logger.Messages.Single(), Does.Contain("Another host"));
        Assert.That(second.Get("a", out byte[] data), Is.EqualTo(TeeReturnCode.Success));
        Assert.That(data, Is.EqualTo([2]));
    }

    [Test]
    public void Objects_ServerCrashesAndStartsAgain_NotAvailableThenThere()
    {
        using PostgreSqlTeeStore store = new(_server.ConnectionString);
        using StorageBench bench = new(store, machine: Guid.NewGuid());
        byte[] expected = StorageBench.Pattern(100_000, 1);
        Assert.That(bench.Put("a", expected), Is.EqualTo(TeeReturnCode.Success));

        _server.Crash();
        try
        {
            Assert.That(bench.Put("a", 2), Is.EqualTo(TeeReturnCode.StorageNotAvailable));
        }
        finally
        {
            _server.Start();
        }

        // A connection of the pool may have ended with the server; the pool notices on its first use.
        TeeReturnCode code = bench.Get("a", out byte[] data);
        for (int attempt = 0; attempt < 5 && code != TeeReturnCode.Success; attempt++)
        {
            code = bench.Get("a", out data);
        }

        Assert.That(code, Is.EqualTo(TeeReturnCode.Success));
        Assert.That(data, Is.EqualTo(expected));
    }

    [Test]
    public void Constructor_NewerSchemaOrNoServer_ThrowsWithTheReason()
    {
        using (PostgreSqlTeeStore store = new(_server.ConnectionString))
        {
        }

        Execute("INSERT INTO opteemediator.schema_version VALUES (2)");
        try
        {
            Assert.That(
                () => new PostgreSqlTeeStore(_server.ConnectionString),
                Throws.TypeOf<TeeStoreException>().With.Message.Contains("schema version 2"));
        }
        finally
        {
            Execute("DELETE FROM opteemediator.schema_version WHERE version = 2");
        }

        Assert.That(
            () => new PostgreSqlTeeStore("Host=/nonexistent;Username=postgres;Database=postgres"),
            Throws.TypeOf<TeeStoreException>().With.Message.Contains("cannot be reached"));
    }

    [Test]
    public void Store_Contract_Holds()
    {
        using PostgreSqlTeeStore store = new(_server.ConnectionString);
        StoreContract.Check(store);
    }

    private void Execute(string text)
    {
        using NpgsqlConnection connection = new(_server.ConnectionString + ";Pooling=false");
        connection.Open();
        using NpgsqlCommand command = connection.CreateCommand();
        command.CommandText = text;
        _ = command.ExecuteNonQuery();
    }
}
