using OpTeeMediator.Machines;
using OpTeeMediator.Machines.Agents;

namespace OpTeeMediator.MachineTests;

/// <summary>OP-TEEs of several guests that start and end, side by side, and one that fails.</summary>
[TestFixture]
internal sealed class CompanionLifeTests : CompanionFixture
{
    private const string BootId = "cat /proc/sys/kernel/random/boot_id";

    private static readonly int Reboots = IsFull ? 10 : 1;

    protected override MachineOptions Options { get; } = new() { HasSecureWorld = false, Memory = "3G" };

    [Test]
    public async Task Reboot_AgainAndAgain_GivesAFreshOpTeeEachTime()
    {
        await using Guest guest = await Guest.StartAsync(Machine, 1, Companion);
        var boots = new List<string> { (await guest.RunAsync(BootId)).Succeeded() };
        for (int count = 0; count < Reboots; count++)
        {
            await StartSupplicantAsync(guest);
            await AssertThatXtestPassesAsync(guest, "1004");
            await guest.RestartAsync("reboot -f");
            boots.Add((await guest.RunAsync(BootId)).Succeeded());
        }

        await StartSupplicantAsync(guest);
        await AssertThatXtestPassesAsync(guest, "1004");
        Assert.That(boots, Is.Unique);
    }

    [Test]
    [OnlyInFullRuns]
    public async Task TwoGuests_AtTheSameTime_HaveAnOpTeeEach()
    {
        await using Guest one = await StartGuestAsync(1, Companion);
        await using Guest other = await StartGuestAsync(2, Companion);

        await Task.WhenAll(
            AssertThatXtestPassesAsync(one, "1004", "1005", "6001"),
            AssertThatXtestPassesAsync(other, "1004", "1005", "6001"));
    }

    [Test]
    public async Task Failure_InTheMiddleOfCallsOnTwoVcpus_FailsThemAndANewOneServesTheNextDriver()
    {
        const string Device = "firmware:optee";
        const string Driver = "/sys/bus/platform/drivers/optee";
        await using Guest guest = await StartGuestAsync(1, Companion);
        await AssertThatXtestPassesAsync(guest, "1004");
        Task<CommandResult>[] clients = [.. Enumerable.Range(0, 2).Select(cpu =>
            guest.RunAsync($"taskset {1 << cpu} xtest --sha-perf -s 1048576 -n 100000 > /dev/null 2>&1",
                seconds: 180))];

        // Until each has its session and a buffer, and has then spent a second in OP-TEE, which is the system's time.
        (await guest.RunAsync("""
            until [ "$(pidof xtest | wc -w)" = 2 ]; do sleep 0.1; done
            for process in $(pidof xtest); do
              until ls -l "/proc/$process/fd" | grep -q tee_shm; do sleep 0.1; done
              begun=$(cut -d ' ' -f 15 "/proc/$process/stat")
              until [ "$(cut -d ' ' -f 15 "/proc/$process/stat")" -ge "$((begun + 100))" ]; do sleep 0.1; done
            done
            """)).Succeeded();
        Assert.That(clients.Any(client => client.IsCompleted), Is.False);

        (await Machine.RunAsync($"{MachineFiles.Program("stop-companion")} $(pidof kvmvmm)")).Succeeded();

        CommandResult[] ends = await Task.WhenAll(clients);
        Assert.That(ends.Select(end => end.Status), Has.All.Not.Zero, "their calls have failed");
        Assert.That((await guest.RunAsync("nproc")).Succeeded(), Is.EqualTo("2"), "the guest lives");

        (await guest.RunAsync(
            $"killall tee-supplicant; sleep 1; echo {Device} > {Driver}/unbind && "
            + $"echo {Device} > {Driver}/bind && tee-supplicant -d",
            seconds: 120)).Succeeded();
        await AssertThatXtestPassesAsync(guest, "1004", "1005");
        Assert.That(await ReportAsync(guest), Does.Contain("has failed: core")
            .And.Contain("has replaced the one of"));
    }

    [Test]
    public async Task Failure_WhileClientsWaitInTheDriver_EndsTheirCalls()
    {
        await using Guest guest = await StartGuestAsync(1, Companion);

        // One opens a session, the others wait in the driver for its lock, and only a notification ends that.
        Task<CommandResult>[] clients = [.. Enumerable.Range(0, 6).Select(_ =>
            guest.RunAsync("while xtest 1004 > /dev/null 2>&1; do :; done; false"))];
        (await guest.RunAsync("until grep -qs optee_notif_wait /proc/[0-9]*/wchan; do :; done")).Succeeded();
        Assert.That(clients.Any(client => client.IsCompleted), Is.False);

        (await Machine.RunAsync($"{MachineFiles.Program("stop-companion")} $(pidof kvmvmm)")).Succeeded();

        Assert.That((await Task.WhenAll(clients)).Select(end => end.Status), Has.All.Not.Zero);
        Assert.That((await guest.RunAsync("nproc")).Succeeded(), Is.EqualTo("2"), "the guest lives");
    }
}
