using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
#if (IsHost)
using OpTeeMediator.Linux.LinuxTee;
#endif
using OpTeeMediator.Memory;
#if (IsRemote)
using OpTeeMediator.Remote;
#endif
#if (IsSoftware)
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Applications;
#endif
using OpTeeMediator.Vmm;

namespace OpTeeVmm;

/// <summary>Decides which TEE a guest gets, and what it may reach there.</summary>
internal static class GuestTee
{
    /// <summary>The trusted applications that the guest may reach; all others do not exist for it.</summary>
    private static readonly TeeAccess Access = TeeAccess.Only(ExampleGuest.HelloWorld);

    /// <summary>Gives a VM its OP-TEE.</summary>
#if (IsRemote)
    public static IGuestOpTee Create(IGuestMemory memory, string socketPath)
    {
        // A TEE server, which hosts the trusted applications of several VMs.
        var tee = new RemoteTeeBackend(socketPath);
#elif (IsHost)
    public static IGuestOpTee Create(IGuestMemory memory)
    {
        // The host's OP-TEE, for all VMs of this process. It keeps objects by application, not by VM.
        var tee = new LinuxTeeBackend();
#else
    public static IGuestOpTee Create(IGuestMemory memory)
    {
        // Trusted applications as C# classes. KeySource and Storage would give them keys and objects that are kept.
        var manifest = new TrustedApplicationManifest(ExampleGuest.HelloWorld);
        var tee = new SoftwareTeeBackend(new SoftwareTeeOptions().Add(manifest, () => new HelloWorldApplication()));
#endif

        // The name is in each log entry; give LoggerFactory and Limits for a guest that you do not trust.
        return new OpTeeGuest(memory, tee, new OpTeeGuestOptions { Name = "vm1", Access = Access });
    }
}
