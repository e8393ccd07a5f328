using Microsoft.Data.Sqlite;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.SoftwareTee.Sqlite;

/// <summary>Keeps the records of VMs in an SQLite database.</summary>
/// <remarks>
/// Write-ahead log, synchronised to the disk at each commit. Processes of one machine may share the file; the one that
/// opens a VM last has its lease. Immutable, hence thread-safe.
/// </remarks>
public sealed class SqliteTeeStore : ITeeStore
{
    /// <summary>"OTMS", the application id in the header of the database.</summary>
    internal const int ApplicationId = 0x4f54_4d53;

    /// <summary>The version of the tables.</summary>
    internal const int SchemaVersion = 1;

    private const string Schema = """
        CREATE TABLE lease (vm BLOB PRIMARY KEY NOT NULL, fence INTEGER NOT NULL) STRICT;
        CREATE TABLE root (vm BLOB PRIMARY KEY NOT NULL, version INTEGER NOT NULL, data BLOB NOT NULL) STRICT;
        CREATE TABLE record (
            vm BLOB NOT NULL, application BLOB NOT NULL, object BLOB NOT NULL, part INTEGER NOT NULL,
            version INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (vm, application, object, part)) STRICT;
        """;

    private readonly string _path;
    private readonly string _connectionString;

    /// <summary>Opens a database, or makes a new one that only the VMM's user can read.</summary>
    /// <param name="path">The path of the file, in a folder in which SQLite can make files beside it.</param>
    /// <exception cref="ArgumentException"><paramref name="path"/> is empty.</exception>
    /// <exception cref="TeeStoreException">
    /// The file cannot be opened, is no database of this library, or is of a newer version of it; the message says
    /// which.
    /// </exception>
    public SqliteTeeStore(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        _path = Path.GetFullPath(path);
        SqliteConnectionStringBuilder builder = new()
        {
            DataSource = _path,
            Mode = SqliteOpenMode.ReadWrite,
            Pooling = false,
            DefaultTimeout = 5,
        };
        _connectionString = builder.ToString();
        SqliteFailures.Translate(_path, () =>
        {
            CreateFile();
            using SqliteConnection connection = Connect();
            Prepare(connection);
        });
    }

    /// <inheritdoc/>
    public ITeeStoreSession Open(Guid virtualMachine)
    {
        return SqliteFailures.Translate(_path, () =>
        {
            SqliteConnection connection = Connect();
            try
            {
                return new SqliteTeeStoreSession(_path, connection, virtualMachine);
            }
            catch
            {
                connection.Dispose();
                throw;
            }
        });
    }

    private static void Prepare(SqliteConnection connection)
    {
        using SqliteTransaction transaction = connection.BeginTransaction(deferred: false);
        long application = Query(connection, transaction, "PRAGMA application_id");
        long version = Query(connection, transaction, "PRAGMA user_version");
        long tables = Query(connection, transaction, "SELECT count(*) FROM sqlite_master");
        if (application == 0 && version == 0 && tables == 0)
        {
            Execute(
                connection,
                transaction,
                $"{Schema} PRAGMA application_id = {ApplicationId}; PRAGMA user_version = {SchemaVersion};");
            transaction.Commit();
        }
        else if (application != ApplicationId)
        {
            throw new TeeStoreException(
                TeeStoreFailure.ForeignSchema,
                "is a database of another program; name another file",
                null);
        }
        else if (version != SchemaVersion)
        {
            throw new TeeStoreException(
                TeeStoreFailure.ForeignSchema,
                $"has schema version {version}, and this library knows {SchemaVersion}; use the version of the library "
                    + "that has written it, or a newer one",
                null);
        }
    }

    private static long Query(SqliteConnection connection, SqliteTransaction transaction, string text)
    {
        using SqliteCommand command = CreateCommand(connection, transaction, text);
        return (long)command.ExecuteScalar()!;
    }

    private static void Execute(SqliteConnection connection, SqliteTransaction? transaction, string text)
    {
        using SqliteCommand command = CreateCommand(connection, transaction, text);
        _ = command.ExecuteNonQuery();
    }

    private static SqliteCommand CreateCommand(
        SqliteConnection connection, SqliteTransaction? transaction, string text)
    {
        SqliteCommand command = connection.CreateCommand();
        command.Transaction = transaction;
#pragma warning disable CA2100 // The text is a constant of this class.
        command.CommandText = text;
#pragma warning restore CA2100
        return command;
    }

    private SqliteConnection Connect()
    {
        SqliteConnection connection = new(_connectionString);
        try
        {
            connection.Open();
            Execute(connection, null, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;");
            return connection;
        }
        catch
        {
            connection.Dispose();
            throw;
        }
    }

    // SQLite gives the files beside it the mode of the database.
    private void CreateFile()
    {
        if (File.Exists(_path))
        {
            return;
        }

        FileStreamOptions options = new() { Mode = FileMode.OpenOrCreate, Access = FileAccess.ReadWrite };
        if (!OperatingSystem.IsWindows())
        {
            options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        }

        using FileStream file = new(_path, options);
    }
}
