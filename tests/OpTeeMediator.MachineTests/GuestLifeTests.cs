using OpTeeMediator.Machines;
using OpTeeMediator.Machines.Xtest;

namespace OpTeeMediator.MachineTests;

/// <summary>Kernels of different age, reboots, kernels started by kexec.</summary>
[TestFixture]
internal sealed class GuestLifeTests : MachineFixture
{
    private const string BootId = "cat /proc/sys/kernel/random/boot_id";

    private static readonly int Reboots = IsFull ? 10 : 1;

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

    private static async Task AssertThatTheTeeWorks(Guest guest)
    {
        XtestRun run = await XtestRun.RunAsync(guest.Console, TimeSpan.FromMinutes(2), "1004");
        Assert.That(run.Failures, Is.Empty, run.ToString());
        Assert.That(run.Cases, Has.Count.EqualTo(1));

        // Loading an application takes the TEE long enough for the guest's thread to be put to sleep.
        Assert.That(await guest.NotificationsAsync(), Is.Positive);
    }
}
