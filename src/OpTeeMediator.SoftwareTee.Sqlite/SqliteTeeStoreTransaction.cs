using Microsoft.Data.Sqlite;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.SoftwareTee.Sqlite;

/// <summary>A transaction on the records of one VM in an SQLite database.</summary>
internal sealed class SqliteTeeStoreTransaction(
    string path, SqliteConnection connection, SqliteTransaction transaction, byte[] virtualMachine)
    : ITeeStoreTransaction
{
    private const string ByKey = "vm = $vm AND application = $application AND object = $object AND part = $part";

    public TeeStoreRecord? ReadRoot() => ReadOne("SELECT version, data FROM root WHERE vm = $vm");

    public bool TryReplaceRoot(long expectedVersion, TeeStoreRecord root) => expectedVersion == 0
        ? Execute(
            "INSERT INTO root (vm, version, data) VALUES ($vm, $version, $data) ON CONFLICT (vm) DO NOTHING",
            Version(root),
            Data(root)) == 1
        : Execute(
            "UPDATE root SET version = $version, data = $data WHERE vm = $vm AND version = $expected",
            Version(root),
            Data(root),
            new("$expected", expectedVersion)) == 1;

    public TeeStoreRecord? Read(TeeStoreKey key, long expectedVersion) =>
        ReadOne($"SELECT version, data FROM record WHERE {ByKey}", Parameters(key));

    public bool TryInsert(TeeStoreKey key, TeeStoreRecord content) => Execute(
        "INSERT INTO record (vm, application, object, part, version, data) "
            + "VALUES ($vm, $application, $object, $part, $version, $data) ON CONFLICT DO NOTHING",
        [.. Parameters(key), Version(content), Data(content)]) == 1;

    public bool TryReplace(TeeStoreKey key, long expectedVersion, TeeStoreRecord content) => Execute(
        $"UPDATE record SET version = $version, data = $data WHERE {ByKey} AND version = $expected",
        [.. Parameters(key), Version(content), Data(content), new("$expected", expectedVersion)]) == 1;

    public bool TryDelete(TeeStoreKey key, long expectedVersion) => Execute(
        $"DELETE FROM record WHERE {ByKey} AND version = $expected",
        [.. Parameters(key), new("$expected", expectedVersion)]) == 1;

    public void DeleteObject(Guid application, Guid objectNumber) => Execute(
        "DELETE FROM record WHERE vm = $vm AND application = $application AND object = $object",
        new("$application", application.ToByteArray()),
        new("$object", objectNumber.ToByteArray()));

    public bool HasRecords() => SqliteFailures.Translate(path, () =>
    {
        using SqliteCommand command = CreateCommand("SELECT EXISTS (SELECT 1 FROM record WHERE vm = $vm)");
        return (long)command.ExecuteScalar()! != 0;
    });

    public void Commit() => SqliteFailures.Translate(path, transaction.Commit);

    public void Dispose() => SqliteFailures.Translate(path, transaction.Dispose);

    private static SqliteParameter Version(TeeStoreRecord content) => new("$version", content.Version);

    private static SqliteParameter Data(TeeStoreRecord content) => new("$data", content.Data.ToArray());

    private static SqliteParameter[] Parameters(TeeStoreKey key) =>
    [
        new("$application", key.Application.ToByteArray()),
        new("$object", key.Object.ToByteArray()),
        new("$part", key.Part),
    ];

    private TeeStoreRecord? ReadOne(string text, params SqliteParameter[] parameters) =>
        SqliteFailures.Translate<TeeStoreRecord?>(path, () =>
        {
            using SqliteCommand command = CreateCommand(text, parameters);
            using SqliteDataReader reader = command.ExecuteReader();
            return reader.Read() ? new TeeStoreRecord(reader.GetInt64(0), (byte[])reader.GetValue(1)) : null;
        });

    private int Execute(string text, params SqliteParameter[] parameters) => SqliteFailures.Translate(path, () =>
    {
        using SqliteCommand command = CreateCommand(text, parameters);
        return command.ExecuteNonQuery();
    });

    private SqliteCommand CreateCommand(string text, params SqliteParameter[] parameters)
    {
        SqliteCommand command = connection.CreateCommand();
        command.Transaction = transaction;
#pragma warning disable CA2100 // The text is a constant of this class.
        command.CommandText = text;
#pragma warning restore CA2100
        _ = command.Parameters.AddWithValue("$vm", virtualMachine);
        command.Parameters.AddRange(parameters);
        return command;
    }
}
