using OpTeeMediator.Machines;

namespace OpTeeMediator.MachineTests;

/// <summary>OP-TEE's example applications, in a VMM without TrustZone, by clients of libteec in a real guest.</summary>
/// <remarks>secure_storage is in <see cref="StorageTests"/> and <see cref="DaemonTests"/>.</remarks>
[TestFixture]
internal sealed class ExampleTests : MachineFixture
{
    private static readonly string Client = MachineFiles.Program("example-clients");

    private Guest? _guest;

    protected override MachineOptions Options { get; } = new() { HasSecureWorld = false };

    protected override async Task StartAsync() =>
        _guest = await Guest.StartAsync(Machine, 1, new GuestOptions { Tee = "software" });

    protected override async Task StopAsync() => await (_guest?.DisposeAsync() ?? ValueTask.CompletedTask);

    [TestCase("hello_world 42", "43")]
    [TestCase("caller 42", "43")]
    [TestCase("acipher 2048 secret", "secret")]
    public Task Client_OfAnExample_GetsItsAnswer(string arguments, string expected) =>
        AnswersAsync(arguments, expected);

    // RFC 4226, appendix D.
    [Test]
    public Task Client_OfHotp_GetsThePasswordsOfTheRfc() =>
        AnswersAsync("hotp 12345678901234567890 3", "755224\n287082\n359152");

    // NIST SP 800-38A, F.5.1, the first two blocks.
    [Test]
    public Task Client_OfAes_GetsTheVectorOfNist() => AnswersAsync(
        "aes 2b7e151628aed2a6abf7158809cf4f3c f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff "
        + "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51",
        "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff");

    [Test]
    public async Task Client_OfRandom_GetsOtherBytesEachTime()
    {
        string first = (await _guest!.RunAsync($"{Client} random 32")).Succeeded().Trim();
        string second = (await _guest.RunAsync($"{Client} random 32")).Succeeded().Trim();

        Assert.That(first, Has.Length.EqualTo(64).And.Not.EqualTo(second));
    }

    private async Task AnswersAsync(string arguments, string expected) =>
        Assert.That((await _guest!.RunAsync($"{Client} {arguments}")).Succeeded().Trim(), Is.EqualTo(expected));
}
