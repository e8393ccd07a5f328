using Microsoft.Data.Sqlite;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.PostgreSql;
using OpTeeMediator.SoftwareTee.Sqlite;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.StorageTests;

/// <summary>The other process of a test: one that is killed while it writes, or one that locks the database.</summary>
internal static class Program
{
    public static int Main(string[] arguments) => arguments switch
    {
        ["write-sqlite", string path, string version] => Write(new SqliteTeeStore(path), int.Parse(version)),
        ["write-postgres", string connection, string version] =>
            Write(new PostgreSqlTeeStore(connection), int.Parse(version)),
        ["lock", string path] => Lock(path),
        _ => 2,
    };

    // Replaces and overwrites objects, and says what it begins and what was acknowledged.
    private static int Write(ITeeStore store, int version)
    {
        using StorageBench bench = new(store);
        while (true)
        {
            string id = WrittenObject.IdOf(version);
            Console.WriteLine($"begin {version}");
            TeeReturnCode code = bench.Put(id, WrittenObject.ContentOf(version));
            if (code == TeeReturnCode.Success)
            {
                Console.WriteLine($"end {version}");
                Console.WriteLine($"begin {version + 1}");
                using TrustedObject handle = bench.Open(id);
                code = handle.Write(WrittenObject.ContentOf(version + 1));
            }

            if (code != TeeReturnCode.Success)
            {
                Console.WriteLine($"{code}: {string.Join(' ', bench.Logger.Messages)}");
                return 1;
            }

            Console.WriteLine($"end {version + 1}");
            version += 2;
        }
    }

    private static int Lock(string path)
    {
        using SqliteConnection connection = new($"Data Source={path};Pooling=False");
        connection.Open();
        using SqliteTransaction transaction = connection.BeginTransaction(deferred: false);
        Console.WriteLine("locked");
        _ = Console.ReadLine();
        return 0;
    }
}
