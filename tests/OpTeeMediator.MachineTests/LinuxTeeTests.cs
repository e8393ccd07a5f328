using OpTeeMediator.Machines;
using OpTeeMediator.Machines.Agents;
using OpTeeMediator.Machines.Xtest;

namespace OpTeeMediator.MachineTests;

/// <summary>A guest with two vCPUs whose TEE is the host's.</summary>
[TestFixture]
[Category(MachineFixture.Representative)]
internal sealed class LinuxTeeTests() : GuestFixture(new GuestOptions { Tee = "linux", Cpus = 2 })
{
    // Short ones of every group that differs in what it asks of a mediator: sessions, panics, buffers (registered,
    // temporary, null, read-only, out of bounds), concurrency, cryptography, storage, large objects.
    private static readonly string[] Representatives =
        ["1001", "1002", "1004", "1005", "1006", "1007", "1012", "1016", "1017", "1018", "1022", "1025", "1032", "4001",
            "6001", "6018"];

    protected override string Subject => "`LinuxTeeBackend`";

    [Test]
    public async Task Driver_AtBoot_IsInitialized() =>
        Assert.That((await Guest.RunAsync("dmesg | grep optee")).Succeeded(),
            Does.Contain("optee: initialized driver"));

    [Test]
    public async Task Guest_AtBoot_HasTwoCpusAndNoSupplicant() =>
        Assert.That((await Guest.RunAsync("nproc; pidof tee-supplicant || echo none")).Succeeded(),
            Is.EqualTo("2\nnone"));

    [Test]
    public async Task FirstRun_OfTheGuide_PassesItsCaseOfXtest()
    {
        GuidePage page = new("first-run");
        string[] commands = page.BlockAfter("The next guest gets the host's OP-TEE");
        Assert.That(commands, Has.Length.EqualTo(2));
        await using Guest guest = await Guest.StartAsync(Machine, 2, commands[0]);

        string output = (await guest.RunAsync(commands[1], seconds: 120)).Succeeded();

        Assert.That(output.Split('\n'), Is.SupersetOf(page.BlockAfter("It ends with")));
    }

    /// <summary>docs/guide/troubleshooting.md: the application of another VMM's TEE.</summary>
    [Test]
    public async Task Application_ThatTheTeeDoesNotHave_IsItemNotFound() => Assert.That(
        (await Guest.RunAsync($"{MachineFiles.Program("sum")} 20 22 hello")).Output,
        Does.StartWith("TEEC_OpenSession: result ffff0008"));

    [Test]
    public async Task Xtest_RepresentativeCases_Pass()
    {
        XtestRun run = await XtestRun.RunAsync(Guest.Console, TimeSpan.FromMinutes(4), Representatives);

        TestContext.Out.WriteLine(run);
        Assert.That(run.Failures, Is.Empty, run.ToString());
        Assert.That(run.Cases.Select(one => one.Id), Is.EqualTo(Representatives));
        Assert.That(run.Interruption, Is.Null);
    }

    [Test]
    public async Task SharedMemory_OfTheHostsDriver_IsNotInheritedByChildren()
    {
        // Linux 5.17 and later make these descriptors without close-on-exec, 02000000.
        const string Flags = """
            cd /proc/$(pidof kvmvmm)/fd && for f in *; do
              case $(readlink $f) in *tee_shm*) grep ^flags ../fdinfo/$f;; esac
            done
            """;
        XtestRun run = await XtestRun.RunAsync(Guest.Console, TimeSpan.FromMinutes(4), "1001");
        Assert.That(run.Failures, Is.Empty, run.ToString());

        string[] flags = (await Machine.RunAsync(Flags)).Succeeded().Split('\n', StringSplitOptions.RemoveEmptyEntries);

        Assert.That(flags, Is.Not.Empty.And.All.Matches(@"^flags:\s+02\d{6}$"));
    }

    [Test]
    public async Task Xtest_OnTheHostItself_Passes()
    {
        XtestRun run = await XtestRun.RunAsync(Machine.Host, TimeSpan.FromMinutes(1), "1004", "4001");

        Assert.That(run.Failures, Is.Empty, run.ToString());
        Assert.That(run.Cases, Has.Count.EqualTo(2));
    }

    [Test]
    public async Task Driver_AtBoot_PrintsTheRevisionOfTheHostsOpTee()
    {
        const string Revision = "dmesg | sed -n 's/.*optee: revision \\([0-9.]*\\).*/\\1/p'";

        string guest = (await Guest.RunAsync(Revision)).Succeeded();
        string host = (await Machine.RunAsync(Revision)).Succeeded();

        Assert.That(host, Is.EqualTo((await MachinePackages.ReadAsync()).OpTeeRevision));
        Assert.That(guest, Is.EqualTo(host));
    }

    [Test]
    public async Task Devices_OfTheHostsTee_AreTheGuestsToo()
    {
        const string Devices = "ls /sys/bus/tee/devices";

        Assert.That((await Guest.RunAsync(Devices)).Succeeded(),
            Is.EqualTo((await Machine.RunAsync(Devices)).Succeeded()));
    }

    [Test]
    [OnlyInFullRuns]
    public async Task Tee_FullOfOthersBuffers_RefusesAndRecovers()
    {
        int seconds = (int)(10 * Deadlines.Factor);
        Task<CommandResult> other = await Machine.Host.StartAsync(
            $"{MachineFiles.Program("fill")} 0x100000 100 {seconds}", TimeSpan.FromSeconds(60), "buffers, then");

        string whileFull = (await Guest.RunAsync($"{MachineFiles.Program("fill")} 0x400000 1")).Succeeded();
        bool wasFull = !other.IsCompleted;
        string filled = (await other).Succeeded();
        string afterwards = (await Guest.RunAsync($"{MachineFiles.Program("fill")} 0x400000 1")).Succeeded();

        TestContext.Out.WriteLine($"host: {filled}; guest: {whileFull}; {afterwards}");
        Assert.That(wasFull, Is.True, "the host's program still had its buffers");
        Assert.That(whileFull, Does.StartWith("0 buffers, then ffff000c"));
        Assert.That(afterwards, Is.EqualTo("1 buffers, then 00000000\nafterwards 00000000"));
    }

    [Test]
    public async Task Vm_AtItsLimitOfSharedMemory_RefusesAndRecovers()
    {
        string output = (await Guest.RunAsync($"{MachineFiles.Program("fill")} 0x100000 100")).Succeeded();

        TestContext.Out.WriteLine(output);
        Assert.That(output, Does.Match(@"^\d+ buffers, then ffff000c\nafterwards 00000000$"));
    }

    [Test]
    public async Task Vm_AtItsLimitOfRegistrations_RefusesAndRecovers()
    {
        string output = (await Guest.RunAsync($"{MachineFiles.Program("fill")} 4096 2000")).Succeeded();

        TestContext.Out.WriteLine(output);
        Assert.That(output, Does.Match(@"^\d+ buffers, then ffff000c\nafterwards 00000000$"));
    }


}
