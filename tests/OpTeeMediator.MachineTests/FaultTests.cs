using OpTeeMediator.Machines;
using OpTeeMediator.Machines.Agents;
using OpTeeMediator.Machines.Xtest;

namespace OpTeeMediator.MachineTests;

/// <summary>What goes wrong around a VMM with the host's TEE.</summary>
[TestFixture]
internal sealed class FaultTests : MachineFixture
{
    private static readonly int KillRounds = IsFull ? 20 : 1;

    [Test]
    public async Task Vmm_WithoutATeeDevice_SaysSo()
    {
        CommandResult result = await Machine.RunAsync(Guest.CommandOf(1, new GuestOptions { Tee = "linux:/dev/tee9" }));

        TestContext.Out.WriteLine(result);
        Assert.That(result.Status, Is.EqualTo(1), result.ToString());
        Assert.That(result.Output, Does.Contain("/dev/tee9"));
    }

    [Test]
    public async Task Vmm_OnSomethingThatIsNoTee_SaysSo()
    {
        CommandResult result = await Machine.RunAsync(Guest.CommandOf(1, new GuestOptions { Tee = "linux:/dev/null" }));

        TestContext.Out.WriteLine(result);
        Assert.That(result.Status, Is.EqualTo(1), result.ToString());
        Assert.That(result.Output, Does.Contain("/dev/null"));
    }

    [Test]
    public async Task Vmm_WithoutPermission_SaysSo()
    {
        (await Machine.RunAsync("chmod 666 /dev/kvm /dev/hvc1 && chmod 777 /run")).Succeeded();

        CommandResult result = await Machine.RunAsync(
            Guest.CommandOf(1, new GuestOptions { Wrapper = MachineFiles.Program("as-nobody") }));

        TestContext.Out.WriteLine(result);
        Assert.That(result.Status, Is.EqualTo(1), result.ToString());
        Assert.That(result.Output, Does.Contain("/dev/tee0").And.Contain("EACCES").Or.Contain("permission").IgnoreCase);
    }

    [Test]
    public async Task Guest_WhileTheHostHasNoSupplicant_WaitsAndLives()
    {
        await using Guest guest = await Guest.StartAsync(Machine, 1, new GuestOptions());
        (await Machine.RunAsync("killall tee-supplicant")).Succeeded();

        Task<XtestRun> xtest = XtestRun.RunAsync(guest.Console, TimeSpan.FromMinutes(2), "1004");
        (await WaitForVmmInAsync("optee_supp_thrd_req")).Succeeded();
        CommandResult meanwhile = await guest.RunAsync("nproc", seconds: 20);
        bool endedWithoutSupplicant = xtest.IsCompleted;
        (await Machine.RunAsync("tee-supplicant -d")).Succeeded();
        XtestRun run = await xtest;

        Assert.That(meanwhile.Succeeded(), Is.EqualTo("2"));
        Assert.That(endedWithoutSupplicant, Is.False,
            "as on the host, an application that must be loaded waits for the supplicant");
        Assert.That(run.Failures, Is.Empty, run.ToString());
    }

    [Test]
    public async Task Vmm_KilledDuringCalls_LeavesTheTeeItsRoom()
    {
        for (int round = 0; round < KillRounds; round++)
        {
            await using Guest victim = await Guest.StartAsync(Machine, 1, new GuestOptions());

            // Not while the host's supplicant works for the call: Debian's ends when the process that it answers is
            // gone. OP-TEE does not cancel the call of a process that is killed: the VMM ends when its wait is over.
            int milliseconds = (int)(3000 * Deadlines.Factor);
            Task calls = await victim.Console.StartAsync(
                $"{MachineFiles.Program("fill")} 0x100000 8 600 & {MachineFiles.Program("wait-in-tee")} {milliseconds}",
                TimeSpan.FromMinutes(11), "waits");
            (await WaitForVmmInAsync("msleep_interruptible")).Succeeded();
            Assert.That(calls.IsCompleted, Is.False);
            await victim.KillAsync();
        }

        await using Guest guest = await Guest.StartAsync(Machine, 1, new GuestOptions());
        XtestRun run = await XtestRun.RunAsync(guest.Console, TimeSpan.FromMinutes(2), "1004");
        Assert.That(run.Failures, Is.Empty, run.ToString());
    }

    /// <summary>Waits until a thread of the VMM sleeps in a function of the host's kernel.</summary>
    private Task<CommandResult> WaitForVmmInAsync(string function) =>
        Machine.RunAsync(
            $"until grep -q {function} /proc/$(pidof kvmvmm)/task/*/wchan; do sleep 0.1; done 2> /dev/null");
}
