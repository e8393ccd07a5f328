using Npgsql;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.SoftwareTee.PostgreSql;

/// <summary>Keeps the records of VMs in a PostgreSQL database, for VMs that move between hosts.</summary>
/// <remarks>
/// The host that opens a VM last has its lease; all earlier ones write nothing any more. The tables are in the schema
/// <c>opteemediator</c>. Thread-safe.
/// </remarks>
public sealed class PostgreSqlTeeStore : ITeeStore, IDisposable
{
    /// <summary>The version of the tables.</summary>
    internal const int SchemaVersion = 1;

    // The lock serialises hosts that start at the same time; its number is "OTMS".
    private const string Schema = """
        SELECT pg_advisory_xact_lock(1330924883);
        CREATE SCHEMA IF NOT EXISTS opteemediator;
        CREATE TABLE IF NOT EXISTS opteemediator.schema_version (version integer PRIMARY KEY);
        CREATE TABLE IF NOT EXISTS opteemediator.lease (vm uuid PRIMARY KEY, fence bigint NOT NULL);
        CREATE TABLE IF NOT EXISTS opteemediator.root (
            vm uuid PRIMARY KEY, version bigint NOT NULL, data bytea NOT NULL);
        CREATE TABLE IF NOT EXISTS opteemediator.record (
            vm uuid NOT NULL, application uuid NOT NULL, object uuid NOT NULL, part integer NOT NULL,
            version bigint NOT NULL, data bytea NOT NULL, PRIMARY KEY (vm, application, object, part));
        INSERT INTO opteemediator.schema_version
            SELECT 1 WHERE NOT EXISTS (SELECT FROM opteemediator.schema_version);
        """;

    private readonly NpgsqlDataSource _source;

    /// <summary>Connects to a database, and makes the tables if there are none.</summary>
    /// <param name="connectionString">Npgsql's connection string.</param>
    /// <exception cref="ArgumentException">The connection string cannot be read.</exception>
    /// <exception cref="TeeStoreException">
    /// The database cannot be reached, or its tables are of a newer version of this library.
    /// </exception>
    public PostgreSqlTeeStore(string connectionString)
    {
        ArgumentException.ThrowIfNullOrEmpty(connectionString);
        _source = new NpgsqlSlimDataSourceBuilder(connectionString).Build();
        try
        {
            PostgreSqlFailures.Translate(Prepare);
        }
        catch
        {
            _source.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public ITeeStoreSession Open(Guid virtualMachine) =>
        PostgreSqlFailures.Translate(() => new PostgreSqlTeeStoreSession(_source, virtualMachine));

    /// <summary>Closes the connections.</summary>
    public void Dispose() => _source.Dispose();

    private void Prepare()
    {
        using NpgsqlConnection connection = _source.OpenConnection();
        using NpgsqlTransaction transaction = connection.BeginTransaction();
        using (NpgsqlCommand create = new(Schema, connection, transaction))
        {
            _ = create.ExecuteNonQuery();
        }

        using NpgsqlCommand ask = new("SELECT max(version) FROM opteemediator.schema_version", connection, transaction);
        int version = (int)ask.ExecuteScalar()!;
        if (version != SchemaVersion)
        {
            throw new TeeStoreException(
                TeeStoreFailure.ForeignSchema,
                $"The PostgreSQL store has schema version {version}, and this library knows {SchemaVersion}; use the "
                    + "version of the library that has written it, or a newer one.",
                null);
        }

        transaction.Commit();
    }
}
