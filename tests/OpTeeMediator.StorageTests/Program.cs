using OpTeeMediator.SoftwareTee.Sqlite;

namespace OpTeeMediator.StorageTests;

/// <summary>The process that a crash test kills: it replaces and extends objects for ever.</summary>
internal static class Program
{
    public static void Main(string[] arguments)
    {
        using StorageBench bench = new(new SqliteTeeStore(arguments[0]));
        for (int turn = 1; ; turn++)
        {
            // Each object consists of equal bytes; a mixture would be neither the old nor the new version.
            string id = $"object {turn % 3}";
            byte[] data = [.. Enumerable.Repeat((byte)turn, 20_000 + turn % 20_000)];
            _ = bench.Put(id, data);
            using var handle = bench.Open(id);
            data.AsSpan().Fill((byte)(turn + 1));
            _ = handle.Write(data);
        }
    }
}
