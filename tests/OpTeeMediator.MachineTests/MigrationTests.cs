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

    // What needs the guest's memory, and its supplicant's files.
    private static readonly string[] Cases = IsFull ? ["1004", "1006", "6001"] : ["1004", "6001"];

    protected override MachineOptions Options { get; } = new() { HasSecureWorld = false, Memory = "3G" };

    protected override async Task StartAsync() => (await Machine.RunAsync(
        $"dd if=/dev/urandom of={Key} bs=32 count=1 2> /dev/null && chmod 600 {Key} && truncate -s 16M {Disk}"))
        .Succeeded();

    [Test]
    public async Task Guest_WithCallsAtTheSoftwareTee_IsMovedWhileItRuns()
    {
        GuestOptions software = new() { Tee = "software", Log = "information", Disk = Disk };
        await using Guest guest = await StartGuestAsync(1, Movable(software, move: 0));
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
        string log = await MoveAsync(guest, Arriving(software with { Cpus = 1 }, move: 0));
        Assert.That(log, Does.Contain("stays here: the destination refuses: The saved machine has"));
        Assert.That(log, Does.Contain("The VM does not come"));
        await ProgressAsync();
        int notifications = await guest.NotificationsAsync();
        for (int move = 0; move < Moves; move++)
        {
            await MoveAsync(guest, software, move);
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

    [Test]
    public async Task Guest_InTheMiddleOfXtest_IsMovedWithItsOpTeeWhileItRuns()
    {
        await using Guest guest = await StartGuestAsync(2, Movable(Companion, move: 0));

        // Cases again and again, and calls that are preempted nearly always.
        Task<CommandResult> cases = guest.RunAsync(
            $"""
            rm -f /run/stop
            until [ -e /run/stop ]; do
              for case in {string.Join(' ', Cases)}; do
                if ! xtest -t regression $case > /run/xtest.log 2>&1 || ! grep -q ' 0 failed' /run/xtest.log; then
                  mv /run/xtest.log /run/failure; exit 1
                fi
                count=$((count + 1)); echo $count > /run/cases
              done
            done
            echo "$count cases"
            """,
            seconds: 3600);
        Task<CommandResult> hashes = guest.RunAsync(
            """
            until [ -e /run/stop ]; do
              xtest --sha-perf -s 262144 -n 10 > /run/hashes.log 2>&1 || { mv /run/hashes.log /run/failure; exit 1; }
              count=$((count + 1)); echo $count > /run/hashes
            done
            """,
            seconds: 3600);
        await ProgressAsync();
        for (int move = 0; move < Moves; move++)
        {
            await MoveAsync(guest, Companion, move);
            await ProgressAsync();
        }

        (await guest.RunAsync("touch /run/stop")).Succeeded();
        string ended = (await cases).Succeeded();
        TestContext.Out.WriteLine(ended);
        (await hashes).Succeeded();
        Assert.That(ended, Does.Match("^[1-9][0-9]* cases"));
        Assert.That(await guest.NotificationsAsync(), Is.Positive);
        (await guest.PowerOffAsync()).Succeeded();
        string end = (await Machine.RunAsync($"cat {Log}")).Output;
        Assert.That(end, Does.Contain("Its OP-TEE started in").And.Not.Contain("has failed"));

        // The run of xtest that was under way has ended, and one after it.
        async Task ProgressAsync() => (await guest.RunAsync(
            """
            for file in cases hashes; do
              until [ -s /run/$file ]; do sleep 0.1; done
              before=$(cat /run/$file)
              until [ "$(cat /run/$file)" -gt $((before + 1)) ]; do
                if [ -e /run/failure ]; then cat /run/failure; exit 1; fi
                sleep 0.1
              done
            done
            """,
            seconds: 240)).Succeeded();
    }

    // Comparing takes long, so that only some moves say how long a VM is paused without it.
    private static bool ComparesPages(int move) => move % 5 == 4 || move == Moves - 1;

    // A process from which the guest moves, for the time of this number.
    private static GuestOptions Movable(GuestOptions options, int move) => options with
    {
        More = $"--migrate-to {Socket} {(ComparesPages(move) ? "--check-pages" : "")} --state-key {Key} 2>> {Log}",
    };

    private static GuestOptions Arriving(GuestOptions options, int move)
    {
        GuestOptions movable = Movable(options, move);
        return movable with { More = $"--migrate-from {Socket} {movable.More}" };
    }

    private async Task MoveAsync(Guest guest, GuestOptions options, int move)
    {
        string log = await MoveAsync(guest, Arriving(options, move + 1));
        Assert.That(log, Does.Contain("The VM was moved"));
        if (ComparesPages(move))
        {
            Assert.That(log, Does.Contain("All 65536 pages are those of the source"));
        }
    }

    private async Task<string> MoveAsync(Guest guest, GuestOptions destination)
    {
        (await Machine.RunAsync($": > {Log}")).Succeeded();
        await guest.MoveAsync(destination, Socket);
        string messages = (await Machine.RunAsync($"cat {Log}")).Output;
        TestContext.Out.WriteLine(messages);
        return messages;
    }
}
