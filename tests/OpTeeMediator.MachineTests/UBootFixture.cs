using System.Text.RegularExpressions;
using OpTeeMediator.Machines.Partitioned;
using OpTeeMediator.Smccc;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.MachineTests;

/// <summary>U-Boot on a partitioned machine: what its OP-TEE driver needs of any mediator.</summary>
/// <param name="hasSecureWorld">Whether the machine has TF-A and OP-TEE.</param>
public abstract partial class UBootFixture(bool hasSecureWorld) : PartitionedFixture(
    new PartitionedMachineOptions { Guest = PartitionedGuest.UBoot, HasSecureWorld = hasSecureWorld })
{
    /// <summary>An application that no TEE has.</summary>
    protected static readonly Guid Unknown = new("00000000-dead-4711-8111-000000000002");

    protected override string GuestVersion => Version().Match(Machine.UBoot.BootLog).Value;

    protected override bool HasClients => false;

    /// <summary>What the guest holds.</summary>
    protected abstract OpTeeGuestStatus Status { get; }

    /// <summary>The RPC commands that U-Boot was sent.</summary>
    protected RpcRecordingHandler Recording =>
        (RpcRecordingHandler)(Handler ?? throw new InvalidOperationException("The machine is not on."));

    protected sealed override ISmcHandler CreateHandler() => new RpcRecordingHandler(CreateMediator(), Machine.Memory);

    /// <summary>Creates what answers U-Boot; the machine is on.</summary>
    /// <returns>The mediator.</returns>
    protected abstract ISmcHandler CreateMediator();

    [Test]
    public void Probe_AtBoot_PrintsTheRevision()
    {
        TestContext.Out.WriteLine(
            $"{Machine.UBoot.BootLog}\n(prompt after {Machine.UBoot.BootTime.TotalSeconds:0.00} s)");
        Assert.That(Machine.UBoot.BootLog, Does.Contain("U-Boot 20").And.Match(@"OP-TEE: revision \d+\.\d+"));
    }

    [Test]
    public void ServiceDiscovery_AtBoot_ReportsNoError() =>
        Assert.That(Machine.UBoot.BootLog, Does.Not.Match("(?i)fail|mismatch|error|not bound"));

    [Test]
    public void Status_AtThePrompt_NothingIsHeld() => Assert.That(Status, Is.EqualTo(OpTeeGuestStatus.Nothing));

    /// <summary>Has U-Boot call an application in a session of its own, and expects that nothing
    /// is held afterwards.</summary>
    /// <param name="application">Its UUID.</param>
    /// <param name="function">The command.</param>
    /// <param name="number">The first number of parameter 0.</param>
    /// <param name="size">The size of parameter 1, a buffer; 0 for none.</param>
    /// <returns>What optee_call printed, and the RPC commands meanwhile.</returns>
    protected async Task<(string Output, RecordedRpc[] Rpcs)> CallAsync(
        Guid application, uint function, uint number, int size)
    {
        int before = Recording.Commands.Count;
        string output = await Machine.UBoot.RunAsync($"optee_call {application} {function:x} {number:x} {size:x}");
        Assert.That(Status, Is.EqualTo(OpTeeGuestStatus.Nothing), output);
        return (output, [.. Recording.Commands.Skip(before)]);
    }

    /// <summary>Expects that the random number generator is bound and gives other bytes each time.</summary>
    /// <returns>A task.</returns>
    protected async Task AssertThatRngPrintsOtherBytesEachTimeAsync()
    {
        Assert.That(await Machine.UBoot.RunAsync("rng list"), Is.EqualTo("RNG #0 - optee-rng"));
        List<byte[]> readings = [];
        for (int reading = 0; reading < 4; reading++)
        {
            readings.Add(await ReadRandomBytesAsync(64));
        }

        Assert.That(readings.Select(Convert.ToHexString).Distinct().Count(), Is.EqualTo(readings.Count));
        Assert.That(readings, Has.All.Some.Not.Zero);
        Assert.That(Status, Is.EqualTo(OpTeeGuestStatus.Nothing));
    }

    /// <summary>What optee_call prints of its buffer if each bit of it has been inverted; the same as in
    /// steps/u-boot.files/optee_call.c.</summary>
    /// <param name="size">The buffer's size.</param>
    /// <returns>The number.</returns>
    protected static uint DigestOfInvertedPattern(int size)
    {
        uint digest = 0;
        for (int index = 0; index < size; index++)
        {
            digest = (digest * 31) + (byte)~(index ^ (index >> 8));
        }

        return digest;
    }

    private async Task<byte[]> ReadRandomBytesAsync(int count)
    {
        string output = await Machine.UBoot.RunAsync($"rng 0 {count:x}");
        string digits = string.Concat(DumpedBytes().Matches(output)
            .Select(line => line.Groups[1].Value.Replace(" ", "", StringComparison.Ordinal)));
        Assert.That(digits, Has.Length.EqualTo(2 * count), output);
        return Convert.FromHexString(digits);
    }

    [GeneratedRegex(@"U-Boot \d+\.\d+[^ ]*")]
    private static partial Regex Version();

    // 00000000: 3c 5f …  <_…
    [GeneratedRegex("^[0-9a-f]{8}: ((?:[0-9a-f]{2} ?)+)", RegexOptions.Multiline)]
    private static partial Regex DumpedBytes();
}
