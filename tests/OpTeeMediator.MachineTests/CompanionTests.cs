using System.Globalization;
using OpTeeMediator.Machines;
using OpTeeMediator.Machines.Agents;
using OpTeeMediator.Machines.Xtest;

namespace OpTeeMediator.MachineTests;

/// <summary>A guest with a real OP-TEE of its own, on a machine that has none.</summary>
[TestFixture]
internal sealed class CompanionTests : CompanionFixture
{
    private const int WholeSuite = 108;

    // What needs the guest's memory, its supplicant, its time, its sockets, its identity, two threads at once;
    // no case that takes a minute.
    private static readonly string[] Cases =
        ["1001", "1002", "1004", "1005", "1006", "1007", "1013", "1027", "1028", "1033", "2001", "4001", "4101",
            "6001", "8001"];

    [Test]
    [Category(Representative)]
    public async Task Driver_AtBoot_IsInitializedWithNotifications()
    {
        await using Guest guest = await Guest.StartAsync(Machine, 1, Companion);

        string messages = (await guest.RunAsync("dmesg | grep optee")).Succeeded();

        Assert.That(messages, Does.Contain("optee: initialized driver"));
        Assert.That(messages, Does.Contain("dynamic shared memory is enabled"));
        Assert.That(messages, Does.Contain("Asynchronous notifications enabled"));
        Assert.That((await Machine.RunAsync("ls /dev/tee0")).Status, Is.Not.Zero, "the machine itself has none");
    }

    [Test]
    public async Task Driver_WithoutAnInterrupt_IsInitializedWithoutNotifications()
    {
        await using Guest guest = await StartGuestAsync(1, Companion with { Notifications = false });

        string messages = (await guest.RunAsync("dmesg | grep optee")).Succeeded();

        Assert.That(messages, Does.Contain("optee: initialized driver").And.Not.Contain("Asynchronous notifications"));
        await AssertThatXtestPassesAsync(guest, "1005");
    }

    [Test]
    [Category(Representative)]
    public async Task Xtest_WithTheGuestsOwnSupplicant_Passes()
    {
        await using Guest guest = await StartGuestAsync(1, Companion);
        XtestRun run = IsFull
            ? await XtestRun.RunAsync(guest.Console, TimeSpan.FromMinutes(40))
            : await XtestRun.RunAsync(guest.Console, TimeSpan.FromMinutes(8), Cases);

        TestContext.Out.WriteLine(run);
        Assert.That(run.Interruption, Is.Null);
        Assert.That(run.Failures, Is.Empty, run.ToString());
        Assert.That(run.Cases, Has.Count.GreaterThanOrEqualTo(IsFull ? WholeSuite : Cases.Length));
        Assert.That(await ReportAsync(guest), Does.Contain("Its OP-TEE started in"));
    }

    [Test]
    [OnlyInFullRuns]
    public async Task Call_ThatOnlyWaits_LeavesTheProcessorAlone()
    {
        // One that is held in the call is preempted after each quantum, 250 times a second; this many
        // would still be one in fifty.
        const int Waits = 5;
        const int FewCalls = 5 * Waits;
        const string Used = "cut -d ' ' -f 14,15 /proc/$(pidof kvmvmm)/stat";
        await using Guest guest = await StartGuestAsync(1, Companion);

        // When it says so its application is loaded.
        int milliseconds = (int)(10_000 * Deadlines.Factor);
        Task<CommandResult> call = await guest.Console.StartAsync(
            $"{MachineFiles.Program("wait-in-tee")} {milliseconds}", TimeSpan.FromMinutes(2), "waits");
        (await guest.RunAsync(
            "until grep -q msleep_interruptible /proc/$(pidof wait-in-tee)/wchan; do sleep 0.1; done")).Succeeded();

        string before = (await Machine.RunAsync(Used)).Succeeded();
        string calls = (await guest.RunAsync($"""
            mount -t tracefs tracefs /sys/kernel/tracing && cd /sys/kernel/tracing &&
            echo 1 > events/optee/optee_invoke_fn_begin/enable
            sleep {Waits}
            grep -c optee_invoke_fn_begin: trace
            true
            """)).Succeeded();
        string after = (await Machine.RunAsync(Used)).Succeeded();

        bool isWaiting = !call.IsCompleted;
        Assert.That((await call).Succeeded(), Does.Contain("done"));
        int ticks = Sum(after) - Sum(before);
        string rest = (await guest.RunAsync("grep -c optee_invoke_fn_begin: /sys/kernel/tracing/trace")).Succeeded();
        TestContext.Out.WriteLine($"while a call waits, in {Waits} s: {calls} calls of the TEE, {ticks} ticks of 10 ms "
            + $"of the VMM's processor time; {rest} calls in the end");
        Assert.That(isWaiting, Is.True, "it was looked at while it waited");
        Assert.That(int.Parse(calls, CultureInfo.InvariantCulture), Is.LessThanOrEqualTo(FewCalls));
        Assert.That(int.Parse(rest, CultureInfo.InvariantCulture), Is.GreaterThan(0), "calls are counted");

        static int Sum(string numbers) => numbers.Split(' ').Sum(text => int.Parse(text, CultureInfo.InvariantCulture));
    }

    [Test]
    public async Task Timers_WhileOpTeeComputes_AreReported()
    {
        string lateness = MachineFiles.Program("lateness");
        await using Guest guest = await StartGuestAsync(1, Companion);

        string idle = (await guest.RunAsync($"{lateness} sleep 3")).Succeeded();
        string busy = (await guest.RunAsync($"{lateness} xtest --sha-perf -s 262144 -n 30", seconds: 120)).Succeeded();

        TestContext.Out.WriteLine(
            $"a guest's timers, lateness in µs\nidle: {idle}\nwhile OP-TEE computes, quantum 4000: {busy}");
        Assert.That(busy, Does.StartWith("timers "));
    }

    [Test]
    public async Task Memory_OfACompanion_IsReported()
    {
        await using Guest guest = await StartGuestAsync(1, Companion);
        await AssertThatXtestPassesAsync(guest, "1004");

        string memory = (await Machine.RunAsync(
            "awk '/memfd:optee/ { mine = 1 } /^Rss:/ && mine { sum += $2; mine = 0 } END { print sum }' "
            + "/proc/$(pidof kvmvmm)/smaps")).Succeeded();

        TestContext.Out.WriteLine($"memory of the companion that the VMM has mapped and touched: {memory} KiB");
        Assert.That(memory, Is.Not.Empty);
    }

    [Test]
    [OnlyInFullRuns]
    [Category(Representative)]
    public async Task FourVcpus_AtTheSameTime_AreServed()
    {
        await using Guest guest = await StartGuestAsync(1, Companion with { Cpus = 4 });

        Assert.That((await guest.RunAsync("nproc")).Succeeded(), Is.EqualTo("4"));
        (await guest.RunAsync(
            "for cpu in 0 1 2 3; do taskset $((1 << cpu)) xtest -t regression 1004 > /run/$cpu.log & done; "
            + "for job in 1 2 3 4; do wait %$job || exit 1; done",
            seconds: 240)).Succeeded();
        await AssertThatXtestPassesAsync(guest, "1005");
    }

    [Test]
    public async Task SixVcpus_WithFourCoresOfOpTee_AreServed()
    {
        await using Guest guest = await StartGuestAsync(1, Companion with { Cpus = 6 });

        (await guest.RunAsync(
            "for cpu in 0 1 2 3 4 5; do taskset $((1 << cpu)) xtest -t regression 4101 > /run/$cpu.log & done; "
            + "for job in 1 2 3 4 5 6; do wait %$job || exit 1; done",
            seconds: 240)).Succeeded();
    }

    [Test]
    public async Task Attacks_OfABareGuest_AreAllRefused()
    {
        string output = await RunBareGuestAsync("hostile");

        TestContext.Out.WriteLine(output);
        Assert.That(output, Does.Not.Contain("FAIL"));
        Assert.That(output, Does.Contain("ok OP-TEE still answers").And.Contain("0000000000000000 failed"));
    }

    [Test]
    public async Task WorldSwitch_OfAFastCall_IsReported()
    {
        string output = await RunBareGuestAsync("world-switch");
        string floor = (await Machine.RunAsync(MachineFiles.Program("vm-switch"))).Succeeded();

        TestContext.Out.WriteLine($"{output}\nKVM alone, two VMs in turn:\n{floor}");
        Assert.That(output, Does.Match(@"(?m)^vmm \d+").And.Match(@"(?m)^op-tee \d+"));
    }

    [Test]
    public async Task Image_ThatIsNone_IsExplained()
    {
        CommandResult missing =
            await Machine.RunAsync(Guest.CommandOf(1, Companion with { Tee = "companion:/nowhere" }));
        string zeroes = Guest.CommandOf(1, Companion with { Tee = "companion:/run/zero" });
        CommandResult wrong = await Machine.RunAsync($"head -c 4096 /dev/zero > /run/zero; {zeroes}");

        Assert.That(missing.Status, Is.EqualTo(1), missing.ToString());
        Assert.That(missing.Output, Does.Contain("/nowhere").And.Contain("optee-os"));
        Assert.That(wrong.Status, Is.EqualTo(1), wrong.ToString());
        Assert.That(wrong.Output, Does.Contain("OP-TEE has not started"));
    }

    /// <summary>Runs a guest without a kernel to its end.</summary>
    private async Task<string> RunBareGuestAsync(string name) =>
        (await Machine.RunAsync(
            $"{MachineFiles.Vmm} --kernel {MachineFiles.BareGuest(name)} --memory 64 --tee companion < /dev/null",
            seconds: 120)).Succeeded();
}
