using OpTeeMediator.Guests;
using OpTeeMediator.Memory;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.FirmwareTpm;
using OpTeeMediator.SoftwareTee.Linux;

namespace OpTeeMediator.ReadmeSnippets;

/// <summary>The snippet about trusted keys and a TPM, compiled; a test compares it with the page.</summary>
internal static class KernelKeys
{
    internal static async Task OpenAsync(IGuestMemory memory, Guid idOfThisVm, Action<OpTeeGuest> use)
    {
        // <snippet>
        SoftwareTeeOptions options = new SoftwareTeeOptions { KeySource = new TeeKeyFile("/etc/vmm/tee.key") }
            .AddTrustedKeys()
            .AddFirmwareTpm(new FirmwareTpmOptions("/var/lib/vmm/tpm"));
        SoftwareTeeBackend tee = new(options);
        await using OpTeeGuest guest = new(memory, tee, new OpTeeGuestOptions { Identity = idOfThisVm });
        // </snippet>
        use(guest);
    }
}
