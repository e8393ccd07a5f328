using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.GuestStorage;
using OpTeeMediator.SoftwareTee.Linux;
using OpTeeMediator.SoftwareTee.PostgreSql;
using OpTeeMediator.SoftwareTee.Sqlite;
using OpTeeMediator.SoftwareTee.Storage;

namespace KvmVmm.Tee;

/// <summary>Where trusted applications keep their objects: --storage and --storage-key.</summary>
internal sealed class TeeStorage : IDisposable
{
    private const string PostgreSql = "postgres:";
    private const string Guest = "guest:";
    private const string Keyring = "keyring:";

    private readonly ITeeStore _store;

    private TeeStorage(ITeeStore store, ITeeKeySource key)
    {
        _store = store;
        Options = new SoftwareTeeOptions { KeySource = key, Storage = new TrustedStorageOptions(store) };
    }

    /// <summary>What the TEE gets.</summary>
    public SoftwareTeeOptions Options { get; }

    /// <summary>Whether a database is no file, which several hosts may use.</summary>
    public static bool IsShared(string database) =>
        DatabaseOf(database).StartsWith(PostgreSql, StringComparison.Ordinal);

    /// <summary>Opens the database and the root key.</summary>
    /// <param name="database">
    /// An SQLite file; "postgres:" and a connection string of Npgsql; or "guest:" and one of both, for the root records
    /// of objects in the guest's own files.
    /// </param>
    /// <param name="key">
    /// A file, or "keyring:" and a name; <see langword="null"/> for the file beside an SQLite file.
    /// </param>
    /// <returns>The storage.</returns>
    /// <exception cref="TeeStoreException">One of them cannot be used; the message says why.</exception>
    public static TeeStorage Open(string database, string? key)
    {
        ITeeStore? store = null;
        try
        {
            ITeeKeySource source = KeyOf(database, key);
            Array.Clear(source.ReadKey());
            store = Open(DatabaseOf(database));
            store = IsInGuest(database) ? new GuestFileStore(store) : store;
            return new TeeStorage(store, source);
        }
        catch (Exception failure) when (failure is TeeStoreException or ArgumentException or IOException
            or UnauthorizedAccessException)
        {
            (store as IDisposable)?.Dispose();
            throw new TeeStoreException($"--storage: {failure.Message}", failure);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => (_store as IDisposable)?.Dispose();

    private static bool IsInGuest(string database) => database.StartsWith(Guest, StringComparison.Ordinal);

    private static string DatabaseOf(string database) => IsInGuest(database) ? database[Guest.Length..] : database;

    private static ITeeStore Open(string database) => IsShared(database)
        ? new PostgreSqlTeeStore(database[PostgreSql.Length..])
        : new SqliteTeeStore(database);

    // A new database in a file gets a new key in a file beside it. Without its key, an old one is not touched.
    private static ITeeKeySource KeyOf(string database, string? key)
    {
        if (key is not null)
        {
            return key.StartsWith(Keyring, StringComparison.Ordinal)
                ? new KernelKeyringSource(key[Keyring.Length..])
                : new TeeKeyFile(key);
        }

        string name = DatabaseOf(database);
        string file = name + ".key";
        if (!File.Exists(name) && !File.Exists(file))
        {
            TeeKeyFile.Create(file);
        }

        return new TeeKeyFile(file);
    }
}
