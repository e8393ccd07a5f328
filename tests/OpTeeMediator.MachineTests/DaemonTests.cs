using OpTeeMediator.Machines;
using OpTeeMediator.Machines.Agents;
using OpTeeMediator.StorageTests;

namespace OpTeeMediator.MachineTests;

/// <summary>Guests without TrustZone whose TEE is another process or keeps objects in a server.</summary>
[TestFixture]
internal sealed class DaemonTests : MachineFixture
{
    private const string TargetDead = "ffff3024";
    private const string Communication = "ffff000e";
    private const string StorageNotAvailable = "f0100003";
    private const string Key = Daemon.Folder + "/key";
    private const string Sqlite = $"--storage {Daemon.Folder}/objects.db";

    // For the guest's shell: several chunks of an object, made in the guest as its console is slow.
    private const string LongText = "$(printf %040000d 0)";

    private static readonly string Client = MachineFiles.Program("objects");
    private static readonly string Waiter = MachineFiles.Program("guest-calls");

    private static readonly GuestOptions WithDaemon = new()
    {
        Tee = Daemon.Tee,
        Cpus = 2,
        More = "--vm-id 7b7f0d1c-6a0c-4d4b-8a8e-1d0c5f4f0a09",
    };

    protected override MachineOptions Options { get; } = new() { HasSecureWorld = false, HasNetwork = true };

    [SetUp]
    public Task Prepare() => Daemon.PrepareAsync(Machine);

    [TearDown]
    public Task EndTheDaemon() => Daemon.KillAsync(Machine);

    [Test]
    public Task Objects_InSqlite_OutliveGuestVmmWorkerAndDaemon() => OutliveAllAsync(Sqlite);

    [Test]
    [OnlyInFullRuns]
    public async Task Objects_OnTheGuestsOwnDisk_OutliveGuestVmmWorkerAndDaemon()
    {
        const string Disk = Daemon.Folder + "/disk";
        await GuestDisk.MakeAsync(Machine, Disk);
        await OutliveAllAsync(Sqlite.Replace("--storage ", "--storage guest:", StringComparison.Ordinal), Disk);
    }

    [Test]
    [OnlyInFullRuns]
    public async Task Objects_InPostgreSql_OutliveGuestVmmWorkerAndDaemon()
    {
        using PostgreSqlServer server = PostgreSqlServer.StartNew(isOnNetwork: true);
        (await Machine.RunAsync(
            $"head -c 32 /dev/urandom > {Key} && chmod 600 {Key} && chown nobody {Key}")).Succeeded();
        await OutliveAllAsync(
            $"--storage \"postgres:{server.NetworkConnectionString("10.0.2.2")}\" --storage-key {Key}");
    }

    [Test]
    public async Task VmmsOwnStorage_InPostgreSql_OutlivesGuestServerAndVmm()
    {
        using PostgreSqlServer server = PostgreSqlServer.StartNew(isOnNetwork: true);
        GuestOptions options = await WithStorageOfTheVmmAsync(server);
        await using (Guest guest = await Guest.StartAsync(Machine, 1, options))
        {
            await WriteAsync(guest, "kept", "first");
            await guest.RestartAsync("reboot -f");
            Assert.That(await ReadAsync(guest, "kept"), Is.EqualTo("first"), "after the guest's reboot");

            server.Crash();
            Assert.That(await ReadAsync(guest, "kept"), Is.EqualTo(StorageNotAvailable), "without the server");
            server.Start();
            Assert.That(await ReadAsync(guest, "kept"), Is.EqualTo("first"), "with the server again");
            await WriteAsync(guest, "kept", "second");
            await guest.KillAsync();
        }

        await using Guest again = await Guest.StartAsync(Machine, 1, options);
        Assert.That(await ReadAsync(again, "kept"), Is.EqualTo("second"), "after kill -9 of the VMM");
    }

    [Test]
    public async Task VmmsOwnStorage_SecondVmmOfTheVm_FirstWritesNothing()
    {
        using PostgreSqlServer server = PostgreSqlServer.StartNew(isOnNetwork: true);
        GuestOptions options = await WithStorageOfTheVmmAsync(server);
        await using Guest first = await Guest.StartAsync(Machine, 1, options);
        await WriteAsync(first, "kept", "first");
        await using Guest second = await Guest.StartAsync(Machine, 2, options);
        string found = await ReadAsync(second, "kept");
        await WriteAsync(second, "kept", "second");

        CommandResult write = await first.RunAsync($"{Client} write kept lost");

        Assert.That(found, Is.EqualTo("first"));
        Assert.That(write.Output, Is.EqualTo(StorageNotAvailable));
        Assert.That(await ReadAsync(second, "kept"), Is.EqualTo("second"));
    }

    [TestCase("worker")]
    [TestCase("daemon")]
    public async Task Call_WorkerOrDaemonKilled_FailsAndTheNextSessionIsServed(string killed)
    {
        await Daemon.StartAsync(Machine, Sqlite);
        await using Guest guest = await Guest.StartAsync(Machine, 1, WithDaemon);
        await WriteAsync(guest, "kept", "text");

        Task<CommandResult> call = guest.RunAsync($"{Waiter} wait 600000 > /tmp/wait 2>&1; cat /tmp/wait");
        (await guest.RunAsync(
            "until grep -q waits /tmp/wait && cat /proc/$(pidof guest-calls)/task/*/wchan | grep -q optee; "
            + "do sleep 0.1; done")).Succeeded();
        Assert.That(call.IsCompleted, Is.False, "it waits at its application");
        (await Machine.RunAsync($"kill -9 {(killed == "daemon" ? Daemon.Process : Daemon.Workers)}")).Succeeded();
        CommandResult end = await call;
        if (killed == "daemon")
        {
            await Daemon.StartAsync(Machine, Sqlite);
        }

        Assert.That(end.Output, Does.Contain(TargetDead).Or.Contain(Communication));
        Assert.That(await ReadAsync(guest, "kept"), Is.EqualTo("text"), "a new session of the same VM");
    }

    [Test]
    public async Task Workers_OfADaemonOfRoot_AreOfTheUserNobody()
    {
        await Daemon.StartAsync(Machine, Sqlite);
        await using Guest guest = await Guest.StartAsync(Machine, 1, WithDaemon);

        CommandResult owners = await Machine.RunAsync(
            $"for pid in {Daemon.Workers}; do grep -E '^(Uid|NoNewPrivs):' /proc/$pid/status; done");

        Assert.That(owners.Output.Split('\n', StringSplitOptions.TrimEntries),
            Is.EqualTo(["Uid:\t65534\t65534\t65534\t65534", "NoNewPrivs:\t1"]));
    }

    private async Task<GuestOptions> WithStorageOfTheVmmAsync(PostgreSqlServer server)
    {
        (await Machine.RunAsync($"head -c 32 /dev/urandom > {Key} && chmod 600 {Key}")).Succeeded();
        return WithDaemon with
        {
            Tee = "software",
            More = $"{WithDaemon.More} --storage \"postgres:{server.NetworkConnectionString("10.0.2.2")}\" "
                + $"--storage-key {Key}",
        };
    }

    private async Task OutliveAllAsync(string storage, string disk = "")
    {
        GuestOptions options = WithDaemon with { Disk = disk };
        await Daemon.StartAsync(Machine, storage);
        await using (Guest guest = await Guest.StartAsync(Machine, 1, options))
        {
            await MountAsync(guest, isNew: true);
            await WriteAsync(guest, "kept", "first");
            await WriteAsync(guest, "long", LongText);
            await guest.RestartAsync("reboot -f");
            await MountAsync(guest, isNew: false);
            Assert.That(await ReadAsync(guest, "kept"), Is.EqualTo("first"), "after the guest's reboot");

            (await Machine.RunAsync($"kill {Daemon.Process}")).Succeeded();
            await Daemon.StartAsync(Machine, storage);
            Assert.That(await ReadAsync(guest, "kept"), Is.EqualTo("first"), "after the daemon's end");
            await WriteAsync(guest, "kept", "second");
            await guest.KillAsync();
        }

        await using Guest again = await Guest.StartAsync(Machine, 1, options);
        await MountAsync(again, isNew: false);
        Assert.That(await ReadAsync(again, "kept"), Is.EqualTo("second"), "after kill -9 of the VMM");
        (await again.RunAsync($"[ $({Client} read long) = {LongText} ]")).Succeeded();

        async Task MountAsync(Guest guest, bool isNew)
        {
            if (disk.Length > 0)
            {
                await GuestDisk.MountAsync(guest, isNew);
            }
        }
    }

    private static async Task WriteAsync(Guest guest, string name, string text) =>
        (await guest.RunAsync($"{Client} write {name} {text}")).Succeeded();

    private static async Task<string> ReadAsync(Guest guest, string name) =>
        (await guest.RunAsync($"{Client} read {name}")).Output.Trim();
}
