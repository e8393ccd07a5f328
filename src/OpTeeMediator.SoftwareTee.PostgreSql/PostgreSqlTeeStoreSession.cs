using System.Data;
using Npgsql;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.SoftwareTee.PostgreSql;

/// <summary>A VM's lease on a PostgreSQL database.</summary>
/// <remarks>Each transaction takes a connection of the pool, so that a restarted database is found again.</remarks>
internal sealed class PostgreSqlTeeStoreSession : ITeeStoreSession
{
    private readonly NpgsqlDataSource _source;
    private readonly Guid _virtualMachine;
    private readonly long _fence;

    /// <summary>Takes the lease: its fencing number is one more than any before.</summary>
    public PostgreSqlTeeStoreSession(NpgsqlDataSource source, Guid virtualMachine)
    {
        _source = source;
        _virtualMachine = virtualMachine;
        using NpgsqlCommand command = source.CreateCommand("""
            INSERT INTO opteemediator.lease AS l (vm, fence) VALUES ($1, 1)
            ON CONFLICT (vm) DO UPDATE SET fence = l.fence + 1 RETURNING fence
            """);
        _ = command.Parameters.Add(new NpgsqlParameter<Guid> { TypedValue = virtualMachine });
        _fence = (long)command.ExecuteScalar()!;
    }

    public ITeeStoreTransaction Begin(bool writes) => PostgreSqlFailures.Translate(() =>
    {
        NpgsqlConnection connection = _source.OpenConnection();
        NpgsqlTransaction? transaction = null;
        try
        {
            transaction = connection.BeginTransaction(
                writes ? IsolationLevel.ReadCommitted : IsolationLevel.RepeatableRead);
            CheckFence(connection, transaction, writes);
            return new PostgreSqlTeeStoreTransaction(connection, transaction, _virtualMachine);
        }
        catch
        {
            transaction?.Dispose();
            connection.Dispose();
            throw;
        }
    });

    public void Dispose()
    {
    }

    // A writer locks the lease until its end: another host takes it after the commit, or this one sees that it has.
    private void CheckFence(NpgsqlConnection connection, NpgsqlTransaction transaction, bool writes)
    {
        const string Read = "SELECT fence FROM opteemediator.lease WHERE vm = $1";
        const string Lock = Read + " FOR UPDATE";
        using NpgsqlCommand command = new(writes ? Lock : Read, connection, transaction);
        _ = command.Parameters.Add(new NpgsqlParameter<Guid> { TypedValue = _virtualMachine });
        if (command.ExecuteScalar() is not long fence || fence != _fence)
        {
            throw new TeeStoreException(
                TeeStoreFailure.LeaseLost,
                $"Another host or process has opened the PostgreSQL store for VM {_virtualMachine} since; this one "
                    + "writes nothing any more.",
                null);
        }
    }
}
