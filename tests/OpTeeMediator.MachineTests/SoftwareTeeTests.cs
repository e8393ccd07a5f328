using OpTeeMediator.Machines;

namespace OpTeeMediator.MachineTests;

/// <summary>A guest whose TEE is in the VMM's process.</summary>
[TestFixture]
internal sealed class SoftwareTeeTests() : GuestFixture(new GuestOptions { Tee = "software" })
{
    [Test]
    public async Task Driver_AtBoot_IsInitialized() =>
        Assert.That((await Guest.RunAsync("dmesg")).Succeeded(), Does.Contain("optee: initialized driver"));

    [Test]
    public async Task HardwareRandomNumberGenerator_Read_GivesBytes()
    {
        string script = "modprobe optee-rng && dd if=/dev/hwrng bs=64 count=4 2> /dev/null | od -A n -t x1 -v | tr -d ' \\n'";

        string bytes = (await Guest.RunAsync(script)).Succeeded();

        Assert.That(bytes, Has.Length.EqualTo(2 * 256), "hexadecimal digits");
        Assert.That(bytes.Distinct().Count(), Is.EqualTo(16), "different digits");
    }

    [Test]
    public async Task Application_OfTheSample_IsReachedByLibteec()
    {
        Assert.That((await Guest.RunAsync($"{MachineFiles.Program("sum")} 40 2 echo")).Succeeded(), Is.EqualTo("42 echo"));
    }
}
