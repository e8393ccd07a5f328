using System.Text;
using Microsoft.Extensions.Logging.Abstractions;
using OpTeeMediator.Guests;
using OpTeeMediator.Machines;
using OpTeeMediator.Machines.Agents;
using OpTeeMediator.Machines.Partitioned;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.FirmwareTpm;
using OpTeeMediator.SoftwareTee.Storage;

namespace OpTeeMediator.MachineTests;

/// <summary>What a guest's Linux does with its TEE: trusted keys and a TPM, over restarts of the VM.</summary>
internal sealed class KernelKeyTests
{
    private const string LoadDrivers = "modprobe trusted source=tee && modprobe tpm_ftpm_tee && test -c /dev/tpmrm0";

    private static readonly Guid Machine = new("0d4cfe60-95b0-4b57-a0f6-29b1bd1f6f31");
    private static readonly Guid OtherMachine = new("0d4cfe60-95b0-4b57-a0f6-29b1bd1f6f32");

    private string _folder = "";
    private SoftwareTeeBackend _tee = null!;

    [OneTimeSetUp]
    public async Task Prepare()
    {
        _folder = Directory.CreateTempSubdirectory("tpm").FullName;
        try
        {
            _ = await MachineScripts.BuildAsync("el2-stub", "guest-tools");
            SoftwareTeeOptions options = new SoftwareTeeOptions { KeySource = new RootKey() }.AddTrustedKeys();
            _tee = new SoftwareTeeBackend(options.AddFirmwareTpm(new FirmwareTpmOptions(_folder)));
        }
        catch (Exception exception)
            when (exception is MachineFailedException or InvalidOperationException
                && Environment.GetEnvironmentVariable("CI") != "true")
        {
            Assert.Inconclusive(exception.Message);
        }
    }

    [OneTimeTearDown]
    public void RemoveFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    public async Task TrustedKey_VmRestarted_IsLoadedAgainAndByNoOtherVm()
    {
        byte[] sealedKey = [];
        await WithGuestAsync(Machine, [], async guest =>
        {
            string text = (await guest.RunAsync(
                $"{LoadDrivers} && keyctl add trusted kmk 'new 32' @u > /dev/null "
                + "&& keyctl pipe $(keyctl search @u trusted kmk)")).Succeeded();
            Assert.That(text, Does.Match("^[0-9a-f]{162}$"));
            sealedKey = Encoding.ASCII.GetBytes(text);
        });

        const string Load =
            "modprobe trusted source=tee && keyctl add trusted kmk \"load $(cat /root/sealed)\" @u > /dev/null "
            + "&& keyctl pipe $(keyctl search @u trusted kmk)";
        await WithGuestAsync(Machine, new() { ["/root/sealed"] = sealedKey }, async guest =>
            Assert.That((await guest.RunAsync(Load)).Succeeded(), Is.EqualTo(Encoding.ASCII.GetString(sealedKey))));
        await WithGuestAsync(OtherMachine, new() { ["/root/sealed"] = sealedKey }, async guest =>
        {
            Assert.That((await guest.RunAsync("modprobe trusted source=tee")).Status, Is.Zero);
            Assert.That((await guest.RunAsync(Load)).Status, Is.Not.Zero);
        });
    }

    [Test]
    public async Task Tpm_VmRestarted_PcrsAreZeroAndSecretsAreTheVms()
    {
        Dictionary<string, byte[]> files = [];
        await WithGuestAsync(Machine, [], async guest =>
        {
            _ = (await guest.RunAsync(LoadDrivers)).Succeeded();
            string random = (await guest.RunAsync("tpm2_getrandom --hex 16")).Succeeded();
            Assert.That(random, Does.Match("^[0-9a-f]{32}$"));

            // Bound to PCR 16, which is zero.
            _ = (await guest.RunAsync(
                """
                set -e
                cd /root
                export TPM2TOOLS_TCTI=device:/dev/tpmrm0
                tpm2_pcrread sha256:16 -o pcr > /dev/null
                tpm2_createprimary -C o -G ecc -c primary > /dev/null
                tpm2_createpolicy --policy-pcr -l sha256:16 -f pcr -L policy > /dev/null
                printf secret > secret
                tpm2_create -C primary -L policy -i secret -u public -r private > /dev/null
                tpm2_load -C primary -u public -r private -c sealed > /dev/null
                test "$(tpm2_unseal -c sealed -p pcr:sha256:16)" = secret
                """)).Succeeded();
            files["/root/public"] = await ReadAsync(guest, "/root/public");
            files["/root/private"] = await ReadAsync(guest, "/root/private");

            string extended = (await guest.RunAsync(
                "tpm2_pcrextend 16:sha256=$(printf %064d 1) && tpm2_pcrread sha256:16")).Succeeded();
            Assert.That(extended, Does.Not.Contain("0x" + new string('0', 64)));
            Assert.That((await guest.RunAsync("tpm2_unseal -c /root/sealed -p pcr:sha256:16")).Status, Is.Not.Zero);

            string reloaded = (await guest.RunAsync(
                "rmmod tpm_ftpm_tee && modprobe tpm_ftpm_tee && tpm2_pcrread sha256:16")).Succeeded();
            Assert.That(reloaded, Is.EqualTo(extended[extended.IndexOf("  sha256", StringComparison.Ordinal)..]));
        });

        await WithGuestAsync(Machine, files, async guest => Assert.That(
            (await guest.RunAsync(
                $"""
                set -e
                {LoadDrivers}
                cd /root
                export TPM2TOOLS_TCTI=device:/dev/tpmrm0
                tpm2_createprimary -C o -G ecc -c primary > /dev/null
                tpm2_load -C primary -u public -r private -c sealed > /dev/null
                tpm2_unseal -c sealed -p pcr:sha256:16
                """)).Succeeded(),
            Is.EqualTo("secret")));
    }

    private static async Task<byte[]> ReadAsync(PartitionedMachine guest, string path) => Convert.FromBase64String(
        (await guest.RunAsync($"base64 {path}")).Succeeded().Replace("\n", "", StringComparison.Ordinal));

    // A boot of the VM: what lasts is on the host.
    private async Task WithGuestAsync(
        Guid identity, Dictionary<string, byte[]> files, Func<PartitionedMachine, Task> use)
    {
        await using PartitionedMachine machine = await PartitionedMachine.CreateAsync(new PartitionedMachineOptions
        {
            Guest = PartitionedGuest.LinuxWithTools,
            HasSecureWorld = false,
            Files = files,
        });
        await using OpTeeGuest handler = new(machine.Memory, _tee, new OpTeeGuestOptions
        {
            Identity = identity,
            LoggerFactory = NullLoggerFactory.Instance,
        });
        await machine.BootAsync(handler);
        await use(machine);
    }

    private sealed class RootKey : ITeeKeySource
    {
        public byte[] ReadKey() => [.. Enumerable.Repeat((byte)9, 32)];
    }
}
