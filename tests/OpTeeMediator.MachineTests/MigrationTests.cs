using System.Globalization;
using System.Text.RegularExpressions;
using OpTeeMediator.Machines;
using OpTeeMediator.Machines.Agents;

namespace OpTeeMediator.MachineTests;

/// <summary>A guest that is moved to another process while it runs, in the middle of calls of its TEE.</summary>
[TestFixture]
internal sealed partial class MigrationTests : CompanionFixture
{
    private const string Uptime = "cut -d ' ' -f 1 /proc/uptime";
    private const string Socket = "/run/move.sock";
    private const string Key = "/run/vm.key";
    private const string Log = "/run/moves.log";
    private const string Disk = "/run/disk";

    // What the VMM logs if it has not given back what the VM's TEE had of its memory.
    private const string SharedStill = "still shared with a TEE";

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

        Task<CommandResult> calls = guest.RunAsync(SavedCalls.Command, seconds: 3600);
        await SavedCalls.ProgressAsync(guest);

        // Another machine does not get it, and nothing is lost.
        string log = await MoveAsync(guest, Arriving(software with { Cpus = 1 }, move: 0));
        Assert.That(log, Does.Contain("stays here: the destination refuses: The saved machine has"));
        Assert.That(log, Does.Contain("The VM does not come"));
        await SavedCalls.ProgressAsync(guest);
        int notifications = await guest.NotificationsAsync();
        for (int move = 0; move < Moves; move++)
        {
            await MoveAsync(guest, software, move);
            await SavedCalls.ProgressAsync(guest);
            int now = await guest.NotificationsAsync();
            Assert.That(now, Is.GreaterThan(notifications), "notifications go on");
            notifications = now;
            (await guest.RunAsync($"echo {move} > /mnt/file && sync && [ $(cat /mnt/file) = {move} ]")).Succeeded();
        }

        (await guest.RunAsync("touch /run/stop")).Succeeded();
        CommandResult counts = await calls;
        TestContext.Out.WriteLine(counts);
        Assert.That(counts.Succeeded(), Does.Contain("all done"));
    }

    // The destination is stopped before it greets: the source would wait for it for a minute.
    [Test]
    public async Task Guest_RebootsDuringAMoveToASilentDestination_StartsAgainAtOnce()
    {
        GuestOptions software = new() { Tee = "software", Log = "information" };
        await using Guest guest = await StartGuestAsync(4, Movable(software, move: 0));
        (await Machine.RunAsync(
            $$"""
            : > {{Log}}
            ({{Guest.CommandOf(3, Arriving(software, move: 0))}}) > /dev/null 2>&1 < /dev/null &
            until [ -S {{Socket}} ]; do sleep 0.1; done
            kill -STOP $(cat /run/guest3.pid)
            kill -USR2 $(cat /run/guest4.pid)
            """)).Succeeded();
        await Task.Delay(TimeSpan.FromSeconds(2));
        Task<CommandResult> end = Machine.RunAsync(
            $"""
            begin=$(cut -d . -f 1 /proc/uptime)
            until grep 'its guest has ended, or starts again' {Log}; do sleep 0.1; done
            end=$(cut -d . -f 1 /proc/uptime)
            kill -9 $(cat /run/guest3.pid); rm -f {Socket}
            echo "after $((end - begin)) s"; [ $((end - begin)) -lt 45 ]
            """,
            seconds: 120);

        await guest.RestartAsync("reboot -f");

        TestContext.Out.WriteLine((await end).Succeeded());
        (await guest.RunAsync("true")).Succeeded();
    }

    // To the same server, for which there are two connections of the VM then, and to another, after which there is
    // only that.
    [Test]
    [OnlyInFullRuns]
    public async Task Guest_WithCallsAtATeeServer_IsMovedToTheSameAndToAnotherWhileItRuns()
    {
        string[] servers = ["", "", "2", "2", ""];
        GuestOptions At(string server) => new()
        {
            Tee = Daemon.TeeOf(server), Log = "information", More = "--vm-id 0f1d5c3a-64a2-4a0c-9f0b-3a5e7c9b2d10",
        };
        await Daemon.PrepareAsync(Machine);
        await Daemon.StartAsync(Machine, "");
        await using (Guest guest = await StartGuestAsync(3, Movable(At(""), move: 0)))
        {
            Task<CommandResult> calls = guest.RunAsync(SavedCalls.Command, seconds: 3600);
            await SavedCalls.ProgressAsync(guest);
            for (int move = 0; move < servers.Length - 1; move++)
            {
                (string here, string there) = (servers[move], servers[move + 1]);
                if (here != there)
                {
                    await Daemon.StartAsync(Machine, "", there);
                }

                await MoveAsync(guest, At(there), move);
                if (here != there)
                {
                    await Daemon.KillAsync(Machine, here);
                }

                await SavedCalls.ProgressAsync(guest);
            }

            Assert.That(await guest.NotificationsAsync(), Is.Positive, "notifications go on");
            (await guest.RunAsync("touch /run/stop")).Succeeded();
            Assert.That((await calls).Succeeded(), Does.Contain("all done"));
        }

        await Daemon.KillAsync(Machine);
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

        // What is missing there is told before the guest is stopped.
        string log = await MoveAsync(guest, Arriving(Companion with { Tee = "companion:/missing" }, move: 0));
        Assert.That(
            log,
            Does.Contain("stays here: the destination refuses: --tee companion").And.Contain("/missing")
                .And.Not.Contain("is to halt"));
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
        More = $"{options.More} --migrate-to {Socket} {(ComparesPages(move) ? "--check-pages" : "")} "
            + $"--state-key {Key} 2>> {Log}",
    };

    private static GuestOptions Arriving(GuestOptions options, int move)
    {
        GuestOptions movable = Movable(options, move);
        return movable with { More = $"--migrate-from {Socket} {movable.More}" };
    }

    private async Task MoveAsync(Guest guest, GuestOptions options, int move)
    {
        double machineBegin = SecondsOf(await Machine.RunAsync(Uptime));
        double guestBegin = SecondsOf(await guest.RunAsync(Uptime));
        string log = await MoveAsync(guest, Arriving(options, move + 1));
        double guestTime = SecondsOf(await guest.RunAsync(Uptime)) - guestBegin;
        double machineTime = SecondsOf(await Machine.RunAsync(Uptime)) - machineBegin;
        Assert.That(log, Does.Contain("The VM was moved").And.Not.Contain(SharedStill));
        double paused = double.Parse(Pause().Match(log).Groups[1].Value, CultureInfo.InvariantCulture);
        Assert.That(
            guestTime, Is.LessThan(machineTime - (0.9 * paused)), "the guest does not notice that it was paused");
        if (ComparesPages(move))
        {
            Assert.That(log, Does.Contain("All 65536 pages are those of the source"));
        }
    }

    private static double SecondsOf(CommandResult uptime) =>
        double.Parse(uptime.Succeeded(), CultureInfo.InvariantCulture);

    [GeneratedRegex("the VM was paused for ([0-9.]+) s")]
    private static partial Regex Pause();

    private async Task<string> MoveAsync(Guest guest, GuestOptions destination)
    {
        (await Machine.RunAsync($": > {Log}")).Succeeded();
        await guest.MoveAsync(destination, Socket);
        string messages = (await Machine.RunAsync($"cat {Log}")).Output;
        TestContext.Out.WriteLine(messages);
        return messages;
    }
}
