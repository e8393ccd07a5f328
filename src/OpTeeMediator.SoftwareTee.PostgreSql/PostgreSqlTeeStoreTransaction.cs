using Npgsql;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.SoftwareTee.PostgreSql;

/// <summary>A transaction on the records of one VM in a PostgreSQL database.</summary>
internal sealed class PostgreSqlTeeStoreTransaction(
    NpgsqlConnection connection, NpgsqlTransaction transaction, Guid virtualMachine) : ITeeStoreTransaction
{
    private const string ByKey = "vm = $1 AND application = $2 AND object = $3 AND part = $4";

    public TeeStoreRecord? ReadRoot() => ReadOne("SELECT version, data FROM opteemediator.root WHERE vm = $1");

    public bool TryReplaceRoot(long expectedVersion, TeeStoreRecord root) => expectedVersion == 0
        ? Execute(
            "INSERT INTO opteemediator.root (vm, version, data) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            Long(root.Version),
            Bytes(root)) == 1
        : Execute(
            "UPDATE opteemediator.root SET version = $2, data = $3 WHERE vm = $1 AND version = $4",
            Long(root.Version),
            Bytes(root),
            Long(expectedVersion)) == 1;

    public TeeStoreRecord? Read(TeeStoreKey key, long expectedVersion) =>
        ReadOne($"SELECT version, data FROM opteemediator.record WHERE {ByKey}", Key(key));

    public bool TryInsert(TeeStoreKey key, TeeStoreRecord content) => Execute(
        "INSERT INTO opteemediator.record (vm, application, object, part, version, data) "
            + "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        [.. Key(key), Long(content.Version), Bytes(content)]) == 1;

    public bool TryReplace(TeeStoreKey key, long expectedVersion, TeeStoreRecord content) => Execute(
        $"UPDATE opteemediator.record SET version = $5, data = $6 WHERE {ByKey} AND version = $7",
        [.. Key(key), Long(content.Version), Bytes(content), Long(expectedVersion)]) == 1;

    public bool TryDelete(TeeStoreKey key, long expectedVersion) => Execute(
        $"DELETE FROM opteemediator.record WHERE {ByKey} AND version = $5", [.. Key(key), Long(expectedVersion)]) == 1;

    public void DeleteObject(Guid application, Guid objectNumber) => Execute(
        "DELETE FROM opteemediator.record WHERE vm = $1 AND application = $2 AND object = $3",
        Uuid(application),
        Uuid(objectNumber));

    public bool HasRecords() => PostgreSqlFailures.Translate(() =>
    {
        using NpgsqlCommand command =
            CreateCommand("SELECT EXISTS (SELECT 1 FROM opteemediator.record WHERE vm = $1)");
        return (bool)command.ExecuteScalar()!;
    });

    public void Commit() => PostgreSqlFailures.Translate(transaction.Commit);

    public void Dispose() => PostgreSqlFailures.Translate(() =>
    {
        using (connection)
        {
            transaction.Dispose();
        }
    });

    private static NpgsqlParameter<Guid> Uuid(Guid value) => new() { TypedValue = value };

    private static NpgsqlParameter<long> Long(long value) => new() { TypedValue = value };

    private static NpgsqlParameter<byte[]> Bytes(TeeStoreRecord content) =>
        new() { TypedValue = content.Data.ToArray() };

    private static NpgsqlParameter[] Key(TeeStoreKey key) =>
        [Uuid(key.Application), Uuid(key.Object), new NpgsqlParameter<int> { TypedValue = key.Part }];

    private TeeStoreRecord? ReadOne(string text, params NpgsqlParameter[] parameters) =>
        PostgreSqlFailures.Translate<TeeStoreRecord?>(() =>
        {
            using NpgsqlCommand command = CreateCommand(text, parameters);
            using NpgsqlDataReader reader = command.ExecuteReader();
            return reader.Read() ? new TeeStoreRecord(reader.GetInt64(0), reader.GetFieldValue<byte[]>(1)) : null;
        });

    private int Execute(string text, params NpgsqlParameter[] parameters) => PostgreSqlFailures.Translate(() =>
    {
        using NpgsqlCommand command = CreateCommand(text, parameters);
        return command.ExecuteNonQuery();
    });

    private NpgsqlCommand CreateCommand(string text, params NpgsqlParameter[] parameters)
    {
#pragma warning disable CA2100 // The text is a constant of this class.
        NpgsqlCommand command = new(text, connection, transaction);
#pragma warning restore CA2100
        _ = command.Parameters.Add(Uuid(virtualMachine));
        foreach (NpgsqlParameter parameter in parameters)
        {
            _ = command.Parameters.Add(parameter);
        }

        return command;
    }
}
