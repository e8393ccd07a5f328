using Microsoft.Extensions.Logging.Abstractions;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Linux;
using OpTeeMediator.SoftwareTee.PostgreSql;
using OpTeeMediator.SoftwareTee.Sqlite;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.StorageChecks;

/// <summary>
/// Stores and finds an object with what NativeAOT has made of a store: prints how often it was called with this one.
/// </summary>
internal static class Program
{
    private static async Task<int> Main(string[] arguments)
    {
        if (arguments is not ["sqlite" or "postgres", string place, string keyFile])
        {
            Console.Error.WriteLine("usage: storage-checks sqlite FILE KEYFILE | postgres CONNECTION KEYFILE");
            return 2;
        }

        ITeeStore store = arguments[0] == "sqlite" ? new SqliteTeeStore(place) : new PostgreSqlTeeStore(place);
        using IDisposable? owned = store as IDisposable;
        SoftwareTeeOptions options = new()
        {
            KeySource = new TeeKeyFile(keyFile),
            Storage = new TrustedStorageOptions(store),
        };
        SoftwareTeeBackend tee = new(options.Add(CountingApplication.Manifest, () => new CountingApplication()));
        TeeVirtualMachine machine = new("vm", TeeAccess.All, 1, NullLoggerFactory.Instance)
        {
            Identity = new Guid("7b7f0d1c-6a0c-4d4b-8a8e-1d0c5f4f0a0b"),
        };
        await using ITeePartition partition = tee.CreatePartition(machine);
        TeeResult result = await partition.OpenSessionAsync(new TeeRequest
        {
            Operation = TeeOperation.OpenSession,
            Application = CountingApplication.Manifest.Uuid,
        });
        Console.WriteLine(
            result.Code == TeeReturnCode.Success ? $"{CountingApplication.Count}" : $"{result.Code}");
        return result.Code == TeeReturnCode.Success ? 0 : 1;
    }
}
