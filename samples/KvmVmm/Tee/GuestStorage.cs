using KvmVmm.CommandLine;
using KvmVmm.Machine;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Linux;
using OpTeeMediator.SoftwareTee.PostgreSql;
using OpTeeMediator.SoftwareTee.Sqlite;
using OpTeeMediator.SoftwareTee.Storage;

namespace KvmVmm.Tee;

/// <summary>Where the guest's trusted applications keep their objects: --storage, --storage-key and --vm-id.</summary>
internal sealed class GuestStorage : IDisposable
{
    /// <summary>How a connection string of PostgreSQL begins.</summary>
    public const string PostgreSql = "postgres:";

    /// <summary>How the name of a key in the kernel's keyrings begins.</summary>
    public const string Keyring = "keyring:";

    // Of a VM whose database no other VM has.
    private static readonly Guid OnlyVm = new("5a1c6c0e-92e5-4c0a-9d5e-3f0a4b7d2c11");

    private readonly ITeeStore _store;

    private GuestStorage(ITeeStore store, ITeeKeySource key, Guid identity)
    {
        _store = store;
        Options = new SoftwareTeeOptions { KeySource = key, Storage = new TrustedStorageOptions(store) };
        Identity = identity;
    }

    /// <summary>What the TEE gets.</summary>
    public SoftwareTeeOptions Options { get; }

    /// <summary>The VM's durable identity.</summary>
    public Guid Identity { get; }

    /// <summary>Opens the database and the root key.</summary>
    /// <param name="options">Name them.</param>
    /// <returns>The storage, or <see langword="null"/> if none is named.</returns>
    /// <exception cref="BootException">One of them cannot be used; the message says why.</exception>
    public static GuestStorage? Open(VmmOptions options)
    {
        if (options.Storage is not { } name)
        {
            return null;
        }

        ITeeStore? store = null;
        try
        {
            ITeeKeySource key = KeyOf(options, name);
            Array.Clear(key.ReadKey());
            store = name.StartsWith(PostgreSql, StringComparison.Ordinal)
                ? new PostgreSqlTeeStore(name[PostgreSql.Length..])
                : new SqliteTeeStore(name);
            return new GuestStorage(store, key, options.VmId ?? OnlyVm);
        }
        catch (Exception failure) when (failure is TeeStoreException or ArgumentException or IOException
            or UnauthorizedAccessException)
        {
            (store as IDisposable)?.Dispose();
            throw new BootException($"--storage: {failure.Message}");
        }
    }

    /// <inheritdoc/>
    public void Dispose() => (_store as IDisposable)?.Dispose();

    // A new database in a file gets a new key in a file beside it. Without its key, an old one is not touched.
    private static ITeeKeySource KeyOf(VmmOptions options, string name)
    {
        if (options.StorageKey is { } key)
        {
            return key.StartsWith(Keyring, StringComparison.Ordinal)
                ? new KernelKeyringSource(key[Keyring.Length..])
                : new TeeKeyFile(key);
        }

        string file = name + ".key";
        if (!File.Exists(name) && !File.Exists(file))
        {
            TeeKeyFile.Create(file);
        }

        return new TeeKeyFile(file);
    }
}
