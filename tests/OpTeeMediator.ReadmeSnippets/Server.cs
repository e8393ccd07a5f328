using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Memory;
using OpTeeMediator.Remote;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.ReadmeSnippets;

/// <summary>The snippets about the TEE server; a test runs them and compares them with the pages.</summary>
internal static class Server
{
    internal static async Task ServeAsync(ITeeBackend tee, string path, TeeAccess access, Func<Task> useAsync)
    {
        // <snippet>
        // In the server: any backend, and what all VMs together may reach.
        await using TeeServer server = TeeServer.Start(tee, new() { SocketPath = path, Access = access });
        // </snippet>
        await useAsync();
    }

    internal static async Task UseAsync(IGuestMemory memory, string path, TeeAccess access, Action<IGuestOpTee> use)
    {
        // <snippet>
        // In each VMM.
        var tee = new RemoteTeeBackend(path);
        await using IGuestOpTee optee = new OpTeeGuest(memory, tee, new() { Name = "vm1", Access = access });
        // </snippet>
        use(optee);
    }
}
