using OpTeeMediator.Guests;
using OpTeeMediator.Memory;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Linux;
using OpTeeMediator.SoftwareTee.Sqlite;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.ReadmeSnippets;

/// <summary>The snippet about trusted storage; a test runs it and compares it with the pages.</summary>
internal static class Storage
{
    internal static async Task OpenAsync(
        string key, string database, IGuestMemory memory, Guid vmIdentity, Action<OpTeeGuest> use)
    {
        // <snippet>
        if (!File.Exists(key))
        {
            TeeKeyFile.Create(key); // random, mode 0600
        }

        var store = new SqliteTeeStore(database);
        var tee = new SoftwareTeeBackend(new SoftwareTeeOptions
        {
            Storage = new TrustedStorageOptions(store),
            KeySource = new TeeKeyFile(key), // or new KernelKeyringSource("name")
        });
        await using var optee = new OpTeeGuest(memory, tee, new() { Name = "vm1", Identity = vmIdentity });
        // </snippet>
        use(optee);
    }
}
