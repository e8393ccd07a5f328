using System.Globalization;
using System.Text.RegularExpressions;
using OpTeeMediator.Machines;
using OpTeeMediator.Machines.Agents;

namespace OpTeeMediator.MachineTests;

/// <summary>A guest that is saved in the middle of its work; another process goes on.</summary>
[TestFixture]
internal sealed class SaveRestoreTests : CompanionFixture
{
    private const string State = "/run/vm.state";
    private const string Key = "/run/vm.key";
    private const string Log = "/run/vm.log";

    // Where Linux's driver has threads of these programs waiting: for a notification, and for the supplicant.
    private const string SleeperSleeps = "grep -qs optee_notif_wait /proc/$(pidof guest-calls)/task/*/wchan";
    private const string FileIsAwaited = "grep -qs optee_supp_thrd_req /proc/$(pidof saved-calls)/task/*/wchan";

    // How long the VMM lets calls come to their end before it saves the guest; one lasts longer.
    private const int SaveWait = 20;
    private const int LongerCall = SaveWait + 10;

    private const string SavedOrNot = "The VM was saved\\|cannot be saved";

    // What the VMM logs if it has not given back what the VM's TEE had of its memory.
    private const string SharedStill = "still shared with a TEE";

    private static readonly int Moves = IsFull ? 20 : 1;

    private static readonly GuestOptions Saved =
        Companion with { More = $"--save {State} --state-key {Key}", Disk = "/run/disk" };

    // What needs the guest's memory and its supplicant.
    private static readonly string[] Cases = IsFull ? ["1004", "1006", "1013", "4001", "6001"] : ["1004", "6001"];

    // The state is in memory, too.
    protected override MachineOptions Options { get; } = new() { HasSecureWorld = false, Memory = "3G" };

    protected override async Task StartAsync() => (await Machine.RunAsync(
        $"dd if=/dev/urandom of={Key} bs=32 count=1 2> /dev/null && chmod 600 {Key} && truncate -s 16M /run/disk"))
        .Succeeded();

    [Test]
    public async Task Guest_SavedInTheMiddleOfItsCalls_GoesOnInAnotherProcess()
    {
        await using Guest guest = await StartGuestAsync(1, Saved);
        string before = (await guest.RunAsync("cat /proc/sys/kernel/random/boot_id")).Succeeded();

        // Cases of xtest again and again; one call that is nearly always preempted; one that sleeps in OP-TEE for
        // longer than the first move takes the guest; files on its disk; a count by its timer.
        Task<CommandResult> cases = guest.RunAsync(
            $"""
            rounds=0
            until [ -e /run/stop ]; do
              for case in {string.Join(' ', Cases)}; do
                xtest -t regression $case > /run/xtest.log 2>&1 || exit 1
                grep -q ' 0 failed' /run/xtest.log || exit 2
              done
              rounds=$((rounds + 1))
            done
            echo "rounds $rounds"
            """,
            seconds: 3600);
        Task<CommandResult> hashes = guest.RunAsync(
            "until [ -e /run/stop ]; do xtest --sha-perf -s 262144 -n 10 > /run/hashes.log 2>&1 || exit 1; done",
            seconds: 3600);
        Task<CommandResult> sleeper =
            guest.RunAsync($"{MachineFiles.Program("wait-in-tee")} 20000", seconds: 3600);
        Task<CommandResult> disk = guest.RunAsync(
            """
            for module in virtio_mmio virtio_blk ext4; do modprobe $module; done
            until [ -e /dev/vda ]; do sleep 0.1; done
            mke2fs /dev/vda > /dev/null && mkdir -p /mnt && mount -t ext4 /dev/vda /mnt || exit 1
            until [ -e /run/stop ]; do
              dd if=/dev/urandom of=/mnt/new bs=64k count=16 2> /dev/null || exit 2
              sha256sum < /mnt/new > /mnt/sum && sync && mv /mnt/new /mnt/file || exit 3
              echo 3 > /proc/sys/vm/drop_caches
              [ "$(sha256sum < /mnt/file)" = "$(cat /mnt/sum)" ] || exit 4
              count=$((count + 1)); echo $count > /run/count
            done
            """,
            seconds: 3600);
        (await guest.RunAsync("until [ -e /run/count ] && [ -s /run/hashes.log ]; do sleep 0.1; done")).Succeeded();
        for (int move = 0; move < Moves; move++)
        {
            string messages = (await guest.SaveAsync()).Succeeded();
            Assert.That(messages, Does.Contain("The VM was saved"), messages);
            if (move == 0)
            {
                await AssertThatOthersAreRefusedAsync();
            }

            await guest.RestoreAsync(Saved with { More = $"{Saved.More} --restore {State}" });

            // Everything goes on, before the next move.
            (await guest.RunAsync(
                "before=$(cat /run/count); until [ \"$(cat /run/count)\" -gt $((before + 1)) ]; do sleep 0.1; done",
                seconds: 120)).Succeeded();
            TestContext.Out.WriteLine(string.Join('\n', Regex.Matches(messages, "The VM was saved.*")));
        }

        (await guest.RunAsync("touch /run/stop")).Succeeded();
        string rounds = (await cases).Succeeded();
        (await hashes).Succeeded();
        (await disk).Succeeded();
        Assert.That((await sleeper).Succeeded(), Does.Contain("done"));
        Assert.That(rounds, Does.Match("rounds [1-9]"));
        Assert.That((await guest.RunAsync("cat /proc/sys/kernel/random/boot_id")).Succeeded(), Is.EqualTo(before));
        Assert.That(await guest.NotificationsAsync(), Is.Positive);

        if (IsFull)
        {
            // It can start again, with an OP-TEE of its own.
            await guest.RestartAsync("reboot -f");
            await StartSupplicantAsync(guest);
            await AssertThatXtestPassesAsync(guest, "1004");
        }

        string end = await ReportAsync(guest);
        Assert.That(end, Does.Contain("The VM was restored").And.Not.Contain("has failed"));
    }

    [Test]
    public async Task Guest_WithCallsAtTheSoftwareTee_GoesOnInAnotherProcess()
    {
        GuestOptions options = Saved with
        {
            Tee = "software",
            Disk = "",
            More = $"{Saved.More} --save-wait {SaveWait} 2>> {Log}",
        };
        GuestOptions restored = options with { More = $"--restore {State} {options.More}" };
        await using Guest guest = await StartGuestAsync(2, options);

        Task<CommandResult> calls = guest.RunAsync(SavedCalls.Command, seconds: 3600);
        await SavedCalls.ProgressAsync(guest);
        await AssertThatALongerCallIsNotSavedAsync(guest);
        int notifications = await guest.NotificationsAsync();
        for (int move = 0; move < Moves; move++)
        {
            await SaveInTheMiddleAsync(guest, restored);
            TestContext.Out.WriteLine(await LogOfAsync("The VM was saved"));
            await AssertThatItGoesOnAsync();
            if (move == 0)
            {
                // Killed while its next state is written: there is the one before, and it goes on from there.
                string state = (await Machine.RunAsync($"sha256sum {State}")).Succeeded();
                (await guest.KillWhileSavingAsync(State, bytes: 10 << 20)).Succeeded();
                Assert.That((await Machine.RunAsync($"sha256sum {State}")).Succeeded(), Is.EqualTo(state));
                CommandResult half = await Machine.RunAsync(Guest.CommandOf(
                    2, options with { More = $"--state-key {Key} --restore {State}.unfinished" }));
                Assert.That((half.Status, half.Output), Is.EqualTo((1, half.Output)));
                Assert.That(half.Output, Does.Contain("cut off"));
                notifications = 0;
                await guest.RestoreAsync(restored);
                await AssertThatItGoesOnAsync();
            }
        }

        (await guest.RunAsync("touch /run/stop")).Succeeded();
        CommandResult counts = await calls;
        TestContext.Out.WriteLine(counts);
        Assert.That(counts.Succeeded(), Does.Contain("all done"));
        TestContext.Out.WriteLine(await LogOfAsync("The VM was restored"));

        async Task AssertThatItGoesOnAsync()
        {
            await SavedCalls.ProgressAsync(guest);
            int now = await guest.NotificationsAsync();
            Assert.That(now, Is.GreaterThan(notifications), "notifications go on");
            notifications = now;
        }
    }

    // The server ends with its process: what goes on at the one that follows is what was saved.
    [Test]
    public async Task Guest_WithCallsAtATeeServer_GoesOnAtAnother()
    {
        GuestOptions options = Saved with
        {
            Tee = Daemon.Tee,
            Disk = "",
            More = $"{Saved.More} --vm-id 5f0a6c1e-94d3-4b0e-8f57-2f6a3c1d7e80",
        };
        await Daemon.PrepareAsync(Machine);
        await Daemon.StartAsync(Machine, "");
        await using (Guest guest = await StartGuestAsync(3, options))
        {
            Task<CommandResult> calls = guest.RunAsync(SavedCalls.Command, seconds: 3600);
            await SavedCalls.ProgressAsync(guest);

            string messages = (await guest.SaveAsync()).Succeeded();
            await Daemon.KillAsync(Machine);
            await Daemon.StartAsync(Machine, "");
            await guest.RestoreAsync(options with { More = $"{options.More} --restore {State}" });

            TestContext.Out.WriteLine(messages);
            Assert.That(messages, Does.Contain("The VM was saved").And.Not.Contain(SharedStill));
            await SavedCalls.ProgressAsync(guest);
            Assert.That(await guest.NotificationsAsync(), Is.Positive, "notifications go on");
            (await guest.RunAsync("touch /run/stop")).Succeeded();
            Assert.That((await calls).Succeeded(), Does.Contain("all done"));
        }

        await Daemon.KillAsync(Machine);
    }

    // One that lasts longer than the VMM waits for it: the VM is not saved, and nothing of it is lost.
    private async Task AssertThatALongerCallIsNotSavedAsync(Guest guest)
    {
        Task<CommandResult> call = await StartSleeperAsync(guest, LongerCall);
        await guest.AskToSaveAsync();
        Assert.That(
            await LogOfAsync(SavedOrNot),
            Does.Contain("cannot be saved, and goes on").And.Contain("runs in application"));
        Assert.That(await LogOfAsync("has not finished its work"), Does.Contain($"within {SaveWait} s (--save-wait)"));
        (await call).Succeeded();
        Assert.That(guest.Exit.IsCompleted, Is.False, "the VM goes on");
    }

    // A call that sleeps, or has ended before that could be seen.
    private static Task<Task<CommandResult>> StartSleeperAsync(Guest guest, double seconds, string before = "") =>
        guest.Console.StartAsync(
            $"""
            {before}
            {MachineFiles.Program("guest-calls")} wait {1000 * seconds:f0} &
            call=$!
            until {SleeperSleeps} || ! kill -0 $call; do sleep 0.05; done
            echo it sleeps
            wait $call && wait
            """,
            TimeSpan.FromHours(1),
            "it sleeps");

    // Saves the guest and goes on with it. When the VMM has begun to save it, a call sleeps in its application until it
    // is notified, and one waits for a file of the supplicant, which is stopped: both end before the state is written.
    private async Task SaveInTheMiddleAsync(Guest guest, GuestOptions restored)
    {
        // The VMM waits longer for the end of both. On a slow computer it takes longer until it has been asked.
        double wait = Math.Clamp(1.5 * Deadlines.Factor, 3, 13);
        string seconds = wait.ToString("f1", CultureInfo.InvariantCulture);
        for (int attempt = 0; attempt < 10; attempt++)
        {
            (await guest.RunAsync($"kill -STOP $(pidof tee-supplicant)\n{Until(FileIsAwaited)}")).Succeeded();
            double begin = await UptimeAfterAsync($": > {Log}");
            Task<CommandResult> calls = await StartSleeperAsync(
                guest, wait, $"supplicant=$(pidof tee-supplicant); (sleep {seconds}; kill -CONT $supplicant) &");
            await guest.AskToSaveAsync();

            // Neither call can have ended by then.
            bool wereInFlight = await UptimeAfterAsync(Until($"grep -q 'is to halt' {Log}")) - begin < wait;
            bool isSaved = !(await LogOfAsync(SavedOrNot)).Contains("cannot be saved");
            if (isSaved)
            {
                await guest.EndAsync();
                Assert.That((await Machine.RunAsync($"cat {Log}")).Output, Does.Not.Contain(SharedStill));
                await guest.RestoreAsync(restored);
            }

            (await calls).Succeeded();
            if (isSaved && wereInFlight)
            {
                return;
            }

            TestContext.Out.WriteLine($"A slow attempt: saved {isSaved}, calls certainly in flight {wereInFlight}");
        }

        Assert.Fail("The guest was never saved with both calls in flight.");
    }

    private async Task<double> UptimeAfterAsync(string script) => double.Parse(
        (await Machine.RunAsync($"{script}; cut -d ' ' -f 1 /proc/uptime")).Succeeded(), CultureInfo.InvariantCulture);

    // Waits for a message of the VMM.
    private async Task<string> LogOfAsync(string text) => (await Machine.RunAsync(
        $"until grep '{text}' {Log}; do sleep 0.05; done")).Succeeded();

    private static string Until(string condition) => $"until {condition}; do sleep 0.05; done";

    private async Task AssertThatOthersAreRefusedAsync()
    {
        const string Other = "/run/other.state";
        (await Machine.RunAsync(
            $"head -c 300000 {State} > {Other} && printf X | dd of={Other} bs=1 seek=5000 conv=notrunc 2> /dev/null"))
            .Succeeded();
        foreach ((GuestOptions options, string reason) in ((GuestOptions, string)[])
            [
                (Saved with { Cpus = 1, More = $"--state-key {Key} --restore {State}" }, "this one has"),
                (Saved with { More = $"--restore {State}" }, "no key is given"),
                (Saved with { More = $"--state-key {Key} --restore {Other}" }, "was changed"),
                (Saved with { More = $"--state-key {Key} --restore {Key}" }, "cut off"),
            ])
        {
            CommandResult result = await Machine.RunAsync(Guest.CommandOf(2, options));

            Assert.That((result.Status, result.Output), Is.EqualTo((1, result.Output)));
            Assert.That(result.Output, Does.Contain(reason));
        }
    }
}
