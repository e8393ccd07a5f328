using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux.LinuxTee;
using OpTeeMediator.Memory;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.ReadmeSnippets;

/// <summary>The guide's snippet about the host's TEE, compiled: it needs <c>/dev/tee0</c>.</summary>
internal static class HostTee
{
    internal static async Task RunAsync(IGuestMemory memory, Guid application, Action<IGuestOpTee> use)
    {
        // <snippet>
        using var tee = new LinuxTeeBackend();
        var options = new OpTeeGuestOptions { Name = "vm1", Access = TeeAccess.Only(application) };
        await using IGuestOpTee optee = new OpTeeGuest(memory, tee, options);
        // </snippet>
        use(optee);
    }
}
