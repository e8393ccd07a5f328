using Microsoft.Data.Sqlite;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.SoftwareTee.Sqlite;

/// <summary>A VM's lease on an SQLite database.</summary>
internal sealed class SqliteTeeStoreSession : ITeeStoreSession
{
    private readonly string _path;
        private readonly byte[] _virtualMachine;
    private readonly long _fence;

    /// <summary>Takes the lease: its fencing number is one more than any before.</summary>
    public SqliteTeeStoreSession(string path, SqliteConnection connection, Guid virtualMachine)
    {
        _path = path;
        Connection = connection;
        _virtualMachine = virtualMachine.ToByteArray();
        using SqliteCommand command = connection.CreateCommand();
        command.CommandText = """
            INSERT INTO lease (vm, fence) VALUES ($vm, 1) ON CONFLICT (vm) DO UPDATE SET fence = fence + 1
            RETURNING fence
            """;
        _ = command.Parameters.AddWithValue("$vm", _virtualMachine);
        _fence = (long)command.ExecuteScalar()!;
    }

    /// <summary>The connection, which only this session uses.</summary>
    internal SqliteConnection Connection { get; }

    public ITeeStoreTransaction Begin(bool writes) => SqliteFailures.Translate(_path, () =>
    {
        SqliteTransaction transaction = Connection.BeginTransaction(deferred: !writes);
        try
        {
            CheckFence(transaction);
            return new SqliteTeeStoreTransaction(_path, Connection, transaction, _virtualMachine);
        }
        catch
        {
            transaction.Dispose();
            throw;
        }
    });

    public void Dispose() => Connection.Dispose();

    private void CheckFence(SqliteTransaction transaction)
    {
        using SqliteCommand command = Connection.CreateCommand();
        command.Transaction = transaction;
        command.CommandText = "SELECT fence FROM lease WHERE vm = $vm";
        _ = command.Parameters.AddWithValue("$vm", _virtualMachine);
        if (command.ExecuteScalar() is not long fence || fence != _fence)
        {
            throw new TeeStoreException(
                TeeStoreFailure.LeaseLost,
                "was opened for this VM by another process since; this one writes nothing any more",
                null);
        }
    }
}
