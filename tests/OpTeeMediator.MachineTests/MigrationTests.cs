using OpTeeMediator.Machines;
using OpTeeMediator.Machines.Agents;

namespace OpTeeMediator.MachineTests;

/// <summary>A guest that is moved to another process while it runs, in the middle of calls of its TEE.</summary>
[TestFixture]
internal sealed class MigrationTests : CompanionFixture
{
    private const string Socket = "/run/move.sock";
    private const string Key = "/run/vm.key";
    private const string Log = "/run/moves.log";
    private const string Disk = "/run/disk";

    private static readonly int Moves = IsFull ? 20 : 1;

    private static readonly GuestOptions Movable = new()
    {
        Log = "information",
        Disk = Disk,
        More = $"--migrate-to {Socket} --check-pages --state-key {Key} 2>> {Log}",
    };

    private static readonly GuestOptions Arriving = Movable with { More = $"--migrate-from {Socket} {Movable.More}" };

    protected override MachineOptions Options { get; } = new() { HasSecureWorld = false, Memory = "3G" };

    protected override async Task StartAsync() => (await Machine.RunAsync(
        $"dd if=/dev/urandom of={Key} bs=32 count=1 2> /dev/null && chmod 600 {Key} && truncate -s 16M {Disk}"))
        .Succeeded();

    [Test]
    public async Task Guest_WithCallsAtTheSoftwareTee_IsMovedWhileItRuns()
    {
        await using Guest guest = await StartGuestAsync(1, Movable with { Tee = "software" });
        (await guest.RunAsync(
            """
            for module in virtio_mmio virtio_blk ext4; do modprobe $module; done
            until [ -e /dev/vda ]; do sleep 0.1; done
            mke2fs /dev/vda > /dev/null && mkdir -p /mnt && mount -t ext4 /dev/vda /mnt
            """)).Succeeded();

        // Sessions, registered and temporary memory, a call that lasts with a file open at the supplicant, timers.
        Task<CommandResult> calls = guest.RunAsync(
            $"{MachineFiles.Program("saved-calls")} /run/count /run/stop", seconds: 3600);
        await ProgressAsync();

        // Another machine does not get it, and nothing is lost.
        string log = await MoveAsync(Arriving with { Tee = "software", Cpus = 1 });
        Assert.That(log, Does.Contain("stays here: the destination refuses: The saved machine has"));
        Assert.That(log, Does.Contain("The VM does not come"));
        await ProgressAsync();
        int notifications = await guest.NotificationsAsync();
        for (int move = 0; move < Moves; move++)
        {
            log = await MoveAsync(Arriving with { Tee = "software" });
            Assert.That(log, Does.Contain("The VM was moved").And.Contain("All 65536 pages are those of the source"));
            await ProgressAsync();
            int now = await guest.NotificationsAsync();
            Assert.That(now, Is.GreaterThan(notifications), "notifications go on");
            notifications = now;
            (await guest.RunAsync($"echo {move} > /mnt/file && sync && [ $(cat /mnt/file) = {move} ]")).Succeeded();
        }

        (await guest.RunAsync("touch /run/stop")).Succeeded();
        CommandResult counts = await calls;
        TestContext.Out.WriteLine(counts);
        Assert.That(counts.Succeeded(), Does.Contain("all done"));

        async Task<string> MoveAsync(GuestOptions destination)
        {
            (await Machine.RunAsync($": > {Log}")).Succeeded();
            await guest.MoveAsync(destination, Socket);
            string messages = (await Machine.RunAsync($"cat {Log}")).Output;
            TestContext.Out.WriteLine(messages);
            return messages;
        }

        // Each thread has ended more than the round in which it was.
        async Task ProgressAsync() => (await guest.RunAsync(
            """
            until [ -s /run/count ]; do sleep 0.1; done
            before=$(cat /run/count)
            until [ "$(cat /run/count)" -gt $((before + 1)) ]; do
              pidof saved-calls > /dev/null || exit 1
              sleep 0.1
            done
            """,
            seconds: 120)).Succeeded();
    }
}
