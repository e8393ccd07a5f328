using OpTeeMediator.Machines;
using OpTeeMediator.Machines.Agents;
using OpTeeMediator.StorageTests;

namespace OpTeeMediator.MachineTests;

/// <summary>Guests without TrustZone whose TEE is another process: samples/TeeDaemon, as root with workers of
/// another user.</summary>
[TestFixture]
internal sealed class DaemonTests : MachineFixture
{
    private const string TargetDead = "ffff3024";
    private const string Communication = "ffff000e";
    private const string Folder = "/tmp/tee";
    private const string Socket = Folder + "/socket";
    private const string Log = Folder + "/log";
    private const string PidFile = Folder + "/pid";
    private const string SqliteFile = Folder + "/objects.db";

    // The daemon's child processes.
    private const string Workers = $"$(ps -o pid,ppid | awk -v daemon=$(cat {PidFile}) '$2 == daemon {{ print $1 }}')";

    private static readonly string Client = MachineFiles.Program("objects");
    private static readonly string Waiter = MachineFiles.Program("guest-calls");

    private static readonly GuestOptions WithDaemon = new()
    {
        Tee = $"remote:{Socket}",
        Cpus = 2,
        More = "--vm-id 7b7f0d1c-6a0c-4d4b-8a8e-1d0c5f4f0a09",
    };

    protected override MachineOptions Options { get; } = new() { HasSecureWorld = false, HasNetwork = true };

    [SetUp]
    public async Task MakeTheFolder() =>
        (await Machine.RunAsync($"rm -rf {Folder} && mkdir {Folder} && chown nobody {Folder}")).Succeeded();

    [TearDown]
    public async Task EndTheDaemon() => await Machine.RunAsync($"kill -9 $(cat {PidFile})");

    [Test]
    public Task Objects_InSqlite_OutliveGuestVmmWorkerAndDaemon() => OutliveAllAsync($"--storage {SqliteFile}");

    [Test]
    public async Task Objects_InPostgreSql_OutliveGuestVmmWorkerAndDaemon()
    {
        using PostgreSqlServer server = PostgreSqlServer.StartNew(isOnNetwork: true);
        (await Machine.RunAsync(
            $"head -c 32 /dev/urandom > {Folder}/key && chmod 600 {Folder}/key && chown nobody {Folder}/key"))
            .Succeeded();
        await OutliveAllAsync(
            $"--storage \"postgres:{server.NetworkConnectionString("10.0.2.2")}\" --storage-key {Folder}/key");
    }

    [Test]
    public async Task VmmsOwnStorage_InPostgreSql_OutlivesGuestAndVmm()
    {
        using PostgreSqlServer server = PostgreSqlServer.StartNew(isOnNetwork: true);
        (await Machine.RunAsync($"head -c 32 /dev/urandom > {Folder}/key && chmod 600 {Folder}/key")).Succeeded();
        GuestOptions options = WithDaemon with
        {
            Tee = "software",
            More = $"{WithDaemon.More} --storage \"postgres:{server.NetworkConnectionString("10.0.2.2")}\" "
                + $"--storage-key {Folder}/key",
        };
        await using (Guest guest = await Guest.StartAsync(Machine, 1, options))
        {
            await WriteAsync(guest, "kept", "first");
            await guest.RestartAsync("reboot -f");
            Assert.That(await ReadAsync(guest, "kept"), Is.EqualTo("first"), "after the guest's reboot");
            await WriteAsync(guest, "kept", "second");
            await guest.KillAsync();
        }

        await using Guest again = await Guest.StartAsync(Machine, 1, options);
        Assert.That(await ReadAsync(again, "kept"), Is.EqualTo("second"), "after kill -9 of the VMM");
    }

    [TestCase("worker")]
    [TestCase("daemon")]
    public async Task Call_WorkerOrDaemonKilled_FailsAndTheNextSessionIsServed(string killed)
    {
        await StartAsync($"--storage {SqliteFile}");
        await using Guest guest = await Guest.StartAsync(Machine, 1, WithDaemon);
        await WriteAsync(guest, "kept", "text");

        Task<CommandResult> call = guest.RunAsync($"{Waiter} wait 600000 2>&1");
        await Task.Delay(TimeSpan.FromSeconds(2));
        Assert.That(call.IsCompleted, Is.False, "it waits at its application");
        (await Machine.RunAsync($"kill -9 {(killed == "daemon" ? $"$(cat {PidFile})" : Workers)}")).Succeeded();
        CommandResult end = await call;
        if (killed == "daemon")
        {
            await StartAsync($"--storage {SqliteFile}");
        }

        Assert.That(end.Output, Does.Contain(TargetDead).Or.Contain(Communication));
        Assert.That(await ReadAsync(guest, "kept"), Is.EqualTo("text"), "a new session of the same VM");
    }

    [Test]
    public async Task Workers_OfADaemonOfRoot_AreOfTheUserNobody()
    {
        await StartAsync($"--storage {SqliteFile}");
        await using Guest guest = await Guest.StartAsync(Machine, 1, WithDaemon);

        CommandResult owners = await Machine.RunAsync(
            $"for pid in {Workers}; do grep -E '^(Uid|NoNewPrivs):' /proc/$pid/status; done");

        Assert.That(owners.Output.Split('\n', StringSplitOptions.TrimEntries),
            Is.EqualTo(["Uid:\t65534\t65534\t65534\t65534", "NoNewPrivs:\t1"]));
    }

    private async Task OutliveAllAsync(string storage)
    {
        string text = new('x', 40_000);
        await StartAsync(storage);
        await using (Guest guest = await Guest.StartAsync(Machine, 1, WithDaemon))
        {
            await WriteAsync(guest, "kept", "first");
            await WriteAsync(guest, "long", text);
            await guest.RestartAsync("reboot -f");
            Assert.That(await ReadAsync(guest, "kept"), Is.EqualTo("first"), "after the guest's reboot");

            (await Machine.RunAsync($"kill $(cat {PidFile})")).Succeeded();
            await StartAsync(storage);
            Assert.That(await ReadAsync(guest, "kept"), Is.EqualTo("first"), "after the daemon's end");
            await WriteAsync(guest, "kept", "second");
            await guest.KillAsync();
        }

        await using Guest again = await Guest.StartAsync(Machine, 1, WithDaemon);
        Assert.That(await ReadAsync(again, "kept"), Is.EqualTo("second"), "after kill -9 of the VMM");
        Assert.That(await ReadAsync(again, "long"), Is.EqualTo(text));
    }

    // The daemon that was there before may still have the socket.
    private async Task StartAsync(string storage) => (await Machine.RunAsync(
        $$"""
        while [ -e {{PidFile}} ] && kill -0 $(cat {{PidFile}}) 2> /dev/null; do sleep 0.1; done
        {{MachineFiles.Daemon}} --socket {{Socket}} --user nobody {{storage}} > {{Log}} 2>&1 < /dev/null &
        echo $! > {{PidFile}}
        until [ -S {{Socket}} ] && grep -q 2640 {{Log}}; do
          kill -0 $! || { cat {{Log}}; exit 1; }
          sleep 0.1
        done
        """)).Succeeded();

    private static async Task WriteAsync(Guest guest, string name, string text) =>
        (await guest.RunAsync($"{Client} write {name} {text}")).Succeeded();

    private static async Task<string> ReadAsync(Guest guest, string name) =>
        (await guest.RunAsync($"{Client} read {name}")).Output.Trim();
}
