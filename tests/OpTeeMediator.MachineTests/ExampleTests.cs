using System.Security.Cryptography;
using System.Text;
using OpTeeMediator.Machines;

namespace OpTeeMediator.MachineTests;

/// <summary>OP-TEE's example applications, on a machine without TrustZone, by clients of libteec in real guests: in
/// their VMM and in a daemon.</summary>
/// <remarks>secure_storage is in <see cref="StorageTests"/> and <see cref="DaemonTests"/>.</remarks>
[TestFixture]
internal sealed class ExampleTests : MachineFixture
{
    private const string InVmm = "VMM";
    private const string InDaemon = "daemon";

    // What the client encrypts, and with what, is the same as in OP-TEE's program; the nonce is the application's.
    private static readonly byte[] Text = Filled(4096, 0x5a);
    private static readonly byte[] Key = Filled(16, 0xa5);
    private static readonly byte[] Nonce = [.. Enumerable.Range(0, 12).Select(index => (byte)index)];

    private static readonly string Client = MachineFiles.Program("example-clients");

    private readonly Dictionary<string, Guest> _guests = [];

    protected override MachineOptions Options { get; } = new() { HasSecureWorld = false };

    protected override async Task StartAsync()
    {
        _guests[InVmm] = await Guest.StartAsync(Machine, 1, new GuestOptions { Tee = "software", Cpus = 1 });
        await Daemon.PrepareAsync(Machine);
        await Daemon.StartAsync(Machine, "");
        _guests[InDaemon] = await Guest.StartAsync(Machine, 2, new GuestOptions { Tee = Daemon.Tee, Cpus = 1 });
    }

    protected override async Task StopAsync()
    {
        foreach (Guest guest in _guests.Values)
        {
            await guest.DisposeAsync();
        }
    }

    [Test]
    public async Task HelloWorld_Client_CountsUpAndDown([Values(InVmm, InDaemon)] string place) =>
        Assert.That(await AnswersAsync(place, "hello_world 42"), Is.EqualTo(["43", "42"]));

    [Test]
    public async Task Random_Client_GetsOtherBytesEachTime([Values(InVmm, InDaemon)] string place)
    {
        string[] first = await AnswersAsync(place, "random");
        string[] second = await AnswersAsync(place, "random");

        Assert.That(first.Single(), Does.Match("^[0-9a-f]{32}$").And.Not.EqualTo(second.Single()));
    }

    // RFC 4226, appendix D.
    [Test]
    public async Task Hotp_Client_GetsThePasswordsOfTheRfc([Values(InVmm, InDaemon)] string place) =>
        Assert.That(await AnswersAsync(place, "hotp 12345678901234567890 10"), Is.EqualTo(
            [
                "755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489",
            ]));

    [Test]
    public async Task Aes_Client_GetsWhatDotNetsAesGives(
        [Values(InVmm, InDaemon)] string place, [Values("ECB", "CBC", "CTR", "CCM", "GCM")] string algorithm)
    {
        (int number, byte[] encrypted, byte[] tag) = Encrypt(algorithm);

        // The console is slow: a digest of what the client prints.
        string[] lines = await AnswersAsync(place, $"aes {number} 2>&1 | sha256sum");

        string[] middle = tag.Length == 0 ? [] : [Convert.ToHexStringLower(tag)];
        string[] expected = [Convert.ToHexStringLower(encrypted), .. middle, Convert.ToHexStringLower(Text), ""];
        byte[] digest = SHA256.HashData(Encoding.ASCII.GetBytes(string.Join('\n', expected)));
        Assert.That(lines, Is.EqualTo([$"{Convert.ToHexStringLower(digest)}  -"]));
    }

    // TEE_ALG_RSAES_PKCS1_V1_5, and with OAEP and SHA-256.
    [Test]
    public async Task Acipher_Client_GetsItsTextBack(
        [Values(InVmm, InDaemon)] string place, [Values("0x60000130", "0x60410230")] string algorithm) =>
        Assert.That(await AnswersAsync(place, $"acipher 2048 {algorithm} secret"), Is.EqualTo(["256", "secret"]));

    [Test]
    public async Task Caller_Client_GetsTheAnswersOfTheOthers([Values(InVmm, InDaemon)] string place)
    {
        string[] lines = await AnswersAsync(place, "caller 42");

        Assert.That(lines, Has.Length.EqualTo(2));
        Assert.That(lines[0], Is.EqualTo("43"));
        Assert.That(lines[1], Does.Match("^[0-9a-f]{32}$").And.Not.EqualTo(new string('0', 32)));
    }

    private static byte[] Filled(int length, byte value)
    {
        byte[] bytes = new byte[length];
        bytes.AsSpan().Fill(value);
        return bytes;
    }

    private static (int Number, byte[] Encrypted, byte[] Tag) Encrypt(string algorithm)
    {
        byte[] encrypted = new byte[Text.Length];
        byte[] tag = new byte[16];
        using Aes aes = Aes.Create();
        aes.Key = Key;
        switch (algorithm)
        {
            case "ECB":
                return (0, aes.EncryptEcb(Text, PaddingMode.None), []);
            case "CBC":
                return (1, aes.EncryptCbc(Text, new byte[16], PaddingMode.None), []);
            case "CTR":
                // The key stream: one block for each number.
                byte[] numbers = new byte[Text.Length];
                for (int block = 0; block < Text.Length / 16; block++)
                {
                    numbers[(block * 16) + 15] = (byte)block;
                }

                byte[] stream = aes.EncryptEcb(numbers, PaddingMode.None);
                return (2, [.. stream.Zip(Text, (one, other) => (byte)(one ^ other))], []);
            case "CCM":
                using (AesCcm ccm = new(Key))
                {
                    ccm.Encrypt(Nonce, Text, encrypted, tag);
                }

                return (3, encrypted, tag);
            default:
                using (AesGcm gcm = new(Key, tag.Length))
                {
                    gcm.Encrypt(Nonce, Text, encrypted, tag);
                }

                return (4, encrypted, tag);
        }
    }

    private async Task<string[]> AnswersAsync(string place, string arguments) =>
        (await _guests[place].RunAsync($"{Client} {arguments}")).Succeeded().Split('\n');
}
