using OpTeeMediator.Guests;
using OpTeeMediator.Machines.Partitioned;
using OpTeeMediator.Smccc;
using OpTeeMediator.SoftwareTee;

namespace OpTeeMediator.MachineTests;

/// <summary>Linux' driver on a partitioned machine without a secure world, its TEE in this process: the quickest check
/// with a real driver.</summary>
[TestFixture(1)]
[TestFixture(2)]
[Category(MachineFixture.Representative)]
internal sealed class TeeInProcessTests(int cpus)
    : PartitionedFixture(new PartitionedMachineOptions { Cpus = cpus, HasSecureWorld = false })
{
    private readonly SoftwareTeeBackend _tee = new(new SoftwareTeeOptions());

    protected override string Subject => "`SoftwareTeeBackend`, partitioned machine";

    protected override ISmcHandler CreateHandler() => new OpTeeGuest(Machine.Memory, _tee);

    [Test]
    public async Task Driver_AtBoot_IsInitialized() =>
        Assert.That((await Machine.RunAsync("dmesg; nproc")).Succeeded(), Does.Contain("optee: initialized driver")
            .And.EndWith($"\n{cpus}"));

    [Test]
    public async Task Agent_CommandsInARow_LosesNone()
    {
        // A script long enough to reach the terminal in several pieces, while the command before it ends.
        for (int number = 0; number < 100; number++)
        {
            Assert.That((await Machine.RunAsync($"echo {number} # {new string('.', 70)}")).Succeeded(),
                Is.EqualTo($"{number}"));
        }
    }

    [Test]
    public async Task HardwareRandomNumberGenerator_Read_GivesBytes()
    {
        string count = (await Machine.RunAsync("modprobe optee-rng && head -c 4096 /dev/hwrng | wc -c")).Succeeded();

        Assert.That(count, Is.EqualTo("4096"));
        Assert.That(((OpTeeGuest)Handler!).Status.CallsInFlight, Is.Zero);
    }
}
