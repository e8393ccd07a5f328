using System.Diagnostics;
using System.Globalization;

namespace OpTeeMediator.RemoteTests;

/// <summary>The sample daemon under a systemd that runs, with the units that the guide installs.</summary>
/// <remarks>A Debian in a container (<c>tests/service/boot</c>), which takes minutes to make.</remarks>
internal sealed class ServiceTests
{
    private const string Unit = "optee-tee.service";
    private const string Allowed = ": allowed";

    private string _folder = "";
    private Process? _container;
    private int _systemd;

    // The container's, as this computer sees it.
    private string SocketPath => $"/proc/{_systemd}/root/run/optee-tee.sock";

    private bool IsRunning => _container is { HasExited: false };

    [OneTimeSetUp]
    public void Boot()
    {
        if (Environment.GetEnvironmentVariable("OPTEE_MEDIATOR_FULL") is not { Length: > 0 })
        {
            Assert.Ignore("Takes minutes: only with tests/run --full.");
        }

        if (!Environment.IsPrivilegedProcess)
        {
            Assert.Ignore("Only root can boot a container.");
        }

        _folder = Directory.CreateTempSubdirectory("optee-service").FullName;
        _container = Process.Start(Path.Combine(FindRepository(), "tests", "service", "boot"), [_folder]);
        // Building comes first; the time bounds only a failure.
        long start = Stopwatch.GetTimestamp();
        while (!IsUp())
        {
            Assert.That(
                IsRunning && Stopwatch.GetElapsedTime(start) < TimeSpan.FromMinutes(30), Is.True,
                "The container has not booted.");
            Thread.Sleep(1000);
        }
    }

    [OneTimeTearDown]
    public async Task ShutDown()
    {
        if (_container is not null)
        {
            if (IsRunning)
            {
                using Process kill = Process.Start("/bin/kill", ["-TERM", $"{_container.Id}"]);
                using CancellationTokenSource late = new(TimeSpan.FromMinutes(2));
                try
                {
                    await _container.WaitForExitAsync(late.Token);
                }
                catch (OperationCanceledException)
                {
                    _container.Kill();
                    await _container.WaitForExitAsync(CancellationToken.None);
                }
            }

            _container.Dispose();
        }

        if (_folder.Length > 0)
        {
            Directory.Delete(_folder, recursive: true);
        }
    }

    [Test, Order(1)]
    public async Task FirstConnection_StartsTheDaemonThatServesIt()
    {
        Assert.That(Show("ActiveState"), Is.EqualTo("inactive"));

        await using (RemoteVm vm = Connect("vm1", Guid.Empty))
        {
            DaemonClient.AssertAdds(vm);
        }

        Assert.That(Show("ActiveState"), Is.EqualTo("active"));
    }

    [Test]
    public async Task Restart_AndKill_VmIsServedAgainAndHasItsObjects()
    {
        await using RemoteVm vm = Connect("vm2", Guid.NewGuid());
        ulong page = vm.Driver.AllocatePage();
        _ = vm.Driver.Register([page], 0, 4096, 0x55);
        vm.Driver.Write<byte>(page, [(byte)'o', 7]);
        uint session = DaemonClient.Open(vm, DaemonClient.Objects);
        Assert.That(DaemonClient.InvokeObjects(vm, session, DaemonClient.Write).ReturnCode, Is.Zero);
        string first = Show("MainPID");

        _ = Run("systemctl", "restart", Unit);
        AssertObject();
        string second = Show("MainPID");
        _ = Run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", Unit);
        Waiting.Until(() => Show("MainPID") != second, "The end of the daemon");
        AssertObject();

        Assert.That(new[] { first, second, Show("MainPID") }, Is.Unique);
        DaemonClient.AssertAdds(vm);

        void AssertObject()
        {
            vm.Driver.Write<byte>(page, [(byte)'o', 0]);
            session = DaemonClient.Open(vm, DaemonClient.Objects);
            uint code = DaemonClient.InvokeObjects(vm, session, DaemonClient.Read).ReturnCode;
            byte[] read = new byte[2];
            vm.Driver.Read<byte>(page, read);
            Assert.That((code, read[1]), Is.EqualTo((0u, (byte)7)));
        }
    }

    [Test]
    public async Task Processes_OfTheDaemon_HaveNoRights()
    {
        await using RemoteVm vm = Connect("vm3", Guid.Empty);
        DaemonClient.AssertAdds(vm);

        string groups = Run("ls", "/sys/fs/cgroup").Split('\n').Contains("systemd")
            ? "/sys/fs/cgroup/systemd"  // version 1
            : "/sys/fs/cgroup";
        string[] processes = Run("cat", $"{groups}{Show("ControlGroup")}/cgroup.procs")
            .Split('\n', StringSplitOptions.RemoveEmptyEntries);
        // The daemon, and the worker of the VM.
        Assert.That(processes, Has.Length.GreaterThanOrEqualTo(2));
        foreach (string process in processes)
        {
            Dictionary<string, string> status = Run("cat", $"/proc/{process}/status").TrimEnd()
                .Split('\n').Select(line => line.Split(':', 2)).ToDictionary(pair => pair[0], pair => pair[1].Trim());
            Assert.That(
                (status["NoNewPrivs"], status["Seccomp"], status["CapPrm"], status["CapEff"], status["CapBnd"]),
                Is.EqualTo(("1", "2", new string('0', 16), new string('0', 16), new string('0', 16))),
                status["Name"]);
            // The range of DynamicUser.
            Assert.That(
                int.Parse(status["Uid"].Split('\t')[0], CultureInfo.InvariantCulture), Is.InRange(61184, 65519));
        }

        Assert.That(
            Run("stat", "--dereference", "--format=%a", "/var/lib/optee-tee", "/var/lib/optee-tee/objects"),
            Is.EqualTo("700\n600\n"));
    }

    // The same unit, with a program that tries it.
    [Test]
    public void Unit_OtherProgram_GetsNothingButTheStateDirectory()
    {
        _ = Run("systemctl", "start", "optee-tee-probe.service");
        string[] under = Tried(Run("journalctl", "--boot", "--unit=optee-tee-probe.service", "--output=cat"));
        // As root without the unit all of it works: it is the unit that denies it.
        string[] without = Tried(Run("/bin/sh", "/usr/libexec/optee-tee-probe"));

        Assert.That(without, Has.Length.EqualTo(under.Length).And.All.EndsWith(Allowed));
        Assert.That(
            under.Where(line => line.EndsWith(Allowed, StringComparison.Ordinal)),
            Is.EqualTo(["write to the state directory: allowed", "read the unit: allowed"]));

        static string[] Tried(string output) =>
        [
            .. output.Split('\n').Where(line => line.EndsWith(Allowed, StringComparison.Ordinal)
                || line.EndsWith(": denied", StringComparison.Ordinal)),
        ];
    }

    [Test]
    public void Security_OfTheUnit_IsWhatSystemdCallsSafe()
    {
        string last = Run("systemd-analyze", "security", "--no-pager", Unit).TrimEnd().Split('\n')[^1];
        TestContext.Out.WriteLine(last);

        Assert.That(last, Does.Contain("SAFE").And.Match("service: [01]\\.[0-9] "));
    }

    private RemoteVm Connect(string name, Guid identity) =>
        DaemonClient.Connect(SocketPath, () => IsRunning, name, identity);

    private string Show(string property) => Run("systemctl", "show", "--value", $"--property={property}", Unit).Trim();

    /// <summary>Runs a program in the container.</summary>
    private string Run(string program, params string[] arguments)
    {
        ProcessStartInfo start = new("nsenter", ["--target", $"{_systemd}", "--all", program, .. arguments])
        {
            RedirectStandardOutput = true,
        };
        using Process process = Process.Start(start)!;
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return output;
    }

    // boot becomes systemd-nspawn, whose child systemd is.
    private bool IsUp()
    {
        string children = $"/proc/{_container!.Id}/task/{_container.Id}/children";
        foreach (string child in File.ReadAllText(children).Split(' ', StringSplitOptions.RemoveEmptyEntries))
        {
            if (File.ReadAllText($"/proc/{child}/comm").Trim() == "systemd")
            {
                _systemd = int.Parse(child, CultureInfo.InvariantCulture);
                return Run("systemctl", "is-active", "optee-tee.socket").Trim() == "active";
            }
        }

        return false;
    }

    private static string FindRepository()
    {
        string? folder = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(folder!, "OpTeeMediator.sln")))
        {
            folder = Path.GetDirectoryName(folder);
        }

        return folder!;
    }
}
