using System.Security.Cryptography;
using System.Text;
using Microsoft.Extensions.Logging.Abstractions;
using OpTeeMediator.Backends;
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

    // What a boot loader does with what it loads.
    private const string Measure = "tpm2_pcrextend 7:sha256=$(printf %064d 1)";

    // Without udev nothing makes the links that device mapper would wait for.
    private const string OpenVolume =
        "export DM_DISABLE_UDEV=1 && modprobe dm_crypt && modprobe loop && cryptsetup open --token-only volume open";

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
            when (exception is MachineFailedException or TeeUnavailableException
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

    [Test]
    public async Task LuksVolume_VmRestarted_IsUnlockedByTheTpm()
    {
        Dictionary<string, byte[]> files = [];
        await WithGuestAsync(Machine, [], async guest =>
        {
            // A small volume, as its content goes through the console.
            _ = (await guest.RunAsync(
                $"""
                set -e
                {LoadDrivers}
                {Measure}
                cd /root
                umask 077
                printf password > password
                truncate -s 2M volume
                cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 \
                  --luks2-metadata-size 16k --luks2-keyslots-size 512k -c aes-xts-plain64 -s 256 volume password
                systemd-cryptenroll --unlock-key-file=password --tpm2-device=/dev/tpmrm0 --tpm2-pcrs=7 \
                  --wipe-slot=password volume
                {OpenVolume}
                echo content > /dev/mapper/open
                cryptsetup close open
                gzip volume
                """,
                seconds: 120)).Succeeded();
            files["/root/volume.gz"] = await ReadAsync(guest, "/root/volume.gz");
        });

        await WithGuestAsync(Machine, files, async guest =>
        {
            string content = (await guest.RunAsync(
                $"{LoadDrivers} && {Measure} && cd /root && gunzip volume.gz && {OpenVolume} "
                + "&& head -n 1 /dev/mapper/open")).Succeeded();
            Assert.That(content, Is.EqualTo("content"));

            CommandResult changed = await guest.RunAsync(
                $"cd /root; cryptsetup close open; {Measure} || exit 7; {OpenVolume}");
            Assert.That(changed.Status, Is.Not.Zero.And.Not.EqualTo(7), changed.ToString());
        });
    }

    [Test]
    public Task Pkcs11_KeyOfTheTpm_Signs() => WithGuestAsync(Machine, [], async guest =>
    {
        byte[] hash = SHA256.HashData("text"u8);
        _ = (await guest.RunAsync(
            $"""
            set -e
            {LoadDrivers}
            cd /root
            mkdir store
            export TPM2_PKCS11_STORE=/root/store TPM2_PKCS11_TCTI=device:/dev/tpmrm0
            tool() {"{"}
              pkcs11-tool --module /usr/lib/aarch64-linux-gnu/pkcs11/libtpm2_pkcs11.so.1 "$@"
            {"}"}
            tool --slot-index 0 --init-token --label token --so-pin 12345678
            tool --token-label token --login --login-type so --so-pin 12345678 --init-pin --new-pin 87654321
            tool --token-label token --login --pin 87654321 --keypairgen --key-type EC:prime256v1 --id 01
            echo {Convert.ToBase64String(hash)} | base64 -d > hash
            tool --token-label token --login --pin 87654321 --sign -m ECDSA --id 01 -i hash -o signature
            tool --token-label token --read-object --type pubkey --id 01 -o key
            """,
            seconds: 120)).Succeeded();

        using ECDsa key = ECDsa.Create();
        key.ImportSubjectPublicKeyInfo(await ReadAsync(guest, "/root/key"), out _);
        Assert.That(key.VerifyHash(hash, await ReadAsync(guest, "/root/signature")), Is.True);
    });

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
