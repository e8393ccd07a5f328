using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Memory;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.ReadmeSnippets;

/// <summary>The guide's snippet about the TEE of its trusted application; a test runs it.</summary>
internal static class DigestWiring
{
    internal static async Task RunAsync(IGuestMemory memory, Action<IGuestOpTee> use)
    {
        // <snippet>
        var manifest = new TrustedApplicationManifest(DigestApplication.Uuid);
        var tee = new SoftwareTeeBackend(new SoftwareTeeOptions().Add(manifest, () => new DigestApplication()));
        var options = new OpTeeGuestOptions { Name = "vm1", Access = TeeAccess.Only(DigestApplication.Uuid) };
        await using IGuestOpTee optee = new OpTeeGuest(memory, tee, options);
        // </snippet>
        use(optee);
    }
}
