using System.Text.RegularExpressions;
using OpTeeMediator.Machines;
using OpTeeMediator.Machines.Agents;
using OpTeeMediator.Machines.Xtest;

namespace OpTeeMediator.MachineTests;

/// <summary>Kernels of different age, reboots, kernels started by kexec, and guests that are saved.</summary>
[TestFixture]
internal sealed class GuestLifeTests : MachineFixture
{
    private const string BootId = "cat /proc/sys/kernel/random/boot_id";

    private static readonly int Reboots = IsFull ? 10 : 1;
    private static readonly int Saves = IsFull ? 20 : 1;

    protected override string Subject => "`LinuxTeeBackend`";

    // Without the machine's own.
    private static string[] OlderKernels => MachineScripts.Suite == "trixie" ? ["6.1"] : ["6.12", "6.1"];

    [TestCaseSource(nameof(OlderKernels))]
    [Category(Representative)]
    public async Task Kernel_OfAnOlderRelease_GetsAWorkingDriver(string version)
    {
        await using Guest guest = await Guest.StartAsync(Machine, 1, new GuestOptions { Kernel = version });

        Assert.That((await guest.RunAsync("uname -r")).Succeeded(), Does.StartWith(version + "."));
        Assert.That((await guest.RunAsync("dmesg | grep optee")).Succeeded(),
            Does.Contain("optee: initialized driver"));
        await AssertThatTheTeeWorks(guest);
    }

    [Test]
    public async Task Reboot_AgainAndAgain_GivesAWorkingDriverEachTime()
    {
        await using Guest guest = await Guest.StartAsync(Machine, 1, new GuestOptions());
        var boots = new List<string> { (await guest.RunAsync(BootId)).Succeeded() };
        for (int count = 0; count < Reboots; count++)
        {
            await AssertThatTheTeeWorks(guest);
            await guest.RestartAsync("reboot -f");
            boots.Add((await guest.RunAsync(BootId)).Succeeded());
        }

        await AssertThatTheTeeWorks(guest);
        Assert.That(boots, Is.Unique);
    }

    [Test]
    public async Task Disk_AfterAReboot_HasWhatTheGuestWroteToIt()
    {
        (await Machine.RunAsync("truncate -s 16M /tmp/disk")).Succeeded();
        await using Guest guest = await Guest.StartAsync(Machine, 1, new GuestOptions { Disk = "/tmp/disk" });
        const string Mount = "modprobe virtio_mmio && modprobe virtio_blk && modprobe ext4 && mkdir -p /mnt && ";
        string before = (await guest.RunAsync(
            Mount + "mke2fs /dev/vda > /dev/null && mount -t ext4 /dev/vda /mnt && "
            + "dd if=/dev/urandom of=/mnt/file bs=64k count=40 2> /dev/null && sha256sum /mnt/file && umount /mnt"))
            .Succeeded();

        await guest.RestartAsync("reboot -f");

        Assert.That((await guest.RunAsync(Mount + "mount -t ext4 /dev/vda /mnt && sha256sum /mnt/file")).Succeeded(),
            Is.EqualTo(before));
    }

    [Test]
    [OnlyInFullRuns]
    public async Task Kexec_WithoutUnloadingTheDriver_GivesAWorkingDriver()
    {
        await using Guest guest =
            await Guest.StartAsync(Machine, 1, new GuestOptions { Kernel = "kexec", Memory = 512 });
        string before = (await guest.RunAsync(BootId)).Succeeded();
        await AssertThatTheTeeWorks(guest);
        (await guest.RunAsync("kexec --load /boot/Image --initrd=/boot/initramfs.cpio --reuse-cmdline")).Succeeded();

        await guest.RestartAsync("kexec --exec");

        Assert.That((await guest.RunAsync(BootId)).Succeeded(), Is.Not.EqualTo(before));
        await AssertThatTheTeeWorks(guest);
    }

    // The host's TEE keeps sessions for its client, which is the process of the VMM.
    [Test]
    public async Task Save_WithAndWithoutASession_RefusesOrDropsTheSessionAlone()
    {
        const string State = "/run/vm.state";
        const string Key = "/run/vm.key";
        const string Log = "/run/save.log";
        const string Application = "cb3e5ba0-adf1-11e0-998b-0002a5d5c51b";
        string client = $"rm -f /run/stop; {MachineFiles.Program("held-session")} /run/count /run/stop";
        GuestOptions options = new()
        {
            Log = "information",
            More = $"--save {State} --state-key {Key} 2>> {Log}",
        };
        GuestOptions restored = options with { More = $"--restore {State} --save-sessions drop {options.More}" };
        (await Machine.RunAsync($"dd if=/dev/urandom of={Key} bs=32 count=1 2> /dev/null && chmod 600 {Key}"))
            .Succeeded();
        await using Guest guest = await Guest.StartAsync(Machine, 1, options);

        // With a session the VM is not saved, and goes on.
        Task<CommandResult> calls = guest.RunAsync(client, seconds: 3600);
        await ProgressAsync(deaths: 0);
        await guest.AskToSaveAsync();
        string log = (await Machine.RunAsync($"until grep 'cannot be saved' {Log}; do sleep 0.1; done")).Succeeded();
        Assert.That(log, Does.Contain("and goes on: ").And.Contain($"a session with application {Application} is open")
            .And.Contain("set --save-sessions drop"));
        await ProgressAsync(deaths: 0);
        (await guest.RunAsync("touch /run/stop")).Succeeded();
        Assert.That((await calls).Succeeded(), Does.EndWith(" 0 sessions died"));

        // Without a session it is saved without loss.
        await SaveAndRestoreAsync();
        calls = guest.RunAsync(client, seconds: 3600);
        await ProgressAsync(deaths: 0);
        for (int save = 1; save <= Saves; save++)
        {
            await SaveAndRestoreAsync();
            await ProgressAsync(deaths: save);
        }

        (await guest.RunAsync("touch /run/stop")).Succeeded();
        Assert.That((await calls).Succeeded(), Does.EndWith($" {Saves} sessions died"));
        await AssertThatXtestPasses(guest, "1004", "1006", "6001");
        (await guest.PowerOffAsync()).Succeeded();
        log = (await Machine.RunAsync($"cat {Log}")).Succeeded();
        TestContext.Out.WriteLine(string.Join('\n', Regex.Matches(log, "The VM (was|is saved without) .*")));
        Assert.That(
            Regex.Matches(log, $"saved without 1 calls and sessions .*: {Application} \\(1\\)"),
            Has.Count.EqualTo(Saves),
            "each session that was dropped, by its application");

        async Task SaveAndRestoreAsync()
        {
            (await guest.SaveAsync()).Succeeded();
            await guest.RestoreAsync(restored);
        }

        // The client ends rounds, and has lost as many sessions.
        async Task ProgressAsync(int deaths) => (await guest.RunAsync(
            $$"""
            until [ -s /run/count ]; do sleep 0.1; done
            read rounds died < /run/count
            before=$rounds
            until [ $rounds -gt $((before + 3)) ] && [ $died = {{deaths}} ]; do
              pidof held-session > /dev/null || exit 1
              sleep 0.1
              read rounds died < /run/count
            done
            """,
            seconds: 120)).Succeeded();
    }

    private static async Task AssertThatXtestPasses(Guest guest, params string[] cases)
    {
        XtestRun run = await XtestRun.RunAsync(guest.Console, TimeSpan.FromMinutes(2), cases);
        Assert.That(run.Failures, Is.Empty, run.ToString());
        Assert.That(run.Cases, Has.Count.EqualTo(cases.Length));
    }

    private static async Task AssertThatTheTeeWorks(Guest guest)
    {
        await AssertThatXtestPasses(guest, "1004");

        // Loading an application takes the TEE long enough for the guest's thread to be put to sleep.
        Assert.That(await guest.NotificationsAsync(), Is.Positive);
    }
}
