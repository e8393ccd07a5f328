using Microsoft.Data.Sqlite;
using OpTeeMediator.SoftwareTee.Sqlite;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.StorageTests;

/// <summary>Lets the database of a session be full, as SQLite is when its disk is.</summary>
internal sealed class SqliteConnectionLimit(SqliteTeeStore store) : ITeeStore
{
    private SqliteTeeStoreSession? _session;

    public ITeeStoreSession Open(Guid virtualMachine) => _session = (SqliteTeeStoreSession)store.Open(virtualMachine);

    /// <summary>Keeps the database from growing by more than a few pages. The session was used before.</summary>
    public void Apply()
    {
        using SqliteCommand command = _session!.Connection.CreateCommand();
        command.CommandText = "PRAGMA max_page_count = 20";
        _ = command.ExecuteScalar();
    }
}
