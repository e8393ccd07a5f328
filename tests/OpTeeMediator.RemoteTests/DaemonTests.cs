using System.Diagnostics;
using System.Net.Sockets;
using OpTeeMediator.Backends;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Remote;
using OpTeeMediator.Testing;

namespace OpTeeMediator.RemoteTests;

/// <summary>The sample daemon, as an operator and as systemd start it.</summary>
internal sealed class DaemonTests
{
    // KvmVmm's application that adds.
    private static readonly Guid Sum = new("3c2f1b0e-5a4d-4f6e-8b7c-9d0e1f2a3b4c");

    private string _folder = "";
    private Process? _daemon;

    private string SocketPath => Path.Combine(_folder, "tee");

    private static string Program => Path.Combine(AppContext.BaseDirectory, "teedaemon");

    [SetUp]
    public void SetUp() => _folder = Directory.CreateTempSubdirectory("optee-daemon").FullName;

    [TearDown]
    public void TearDown()
    {
        if (_daemon is { HasExited: false })
        {
            _daemon.Kill(entireProcessTree: true);
            _daemon.WaitForExit();
        }

        _daemon?.Dispose();
        _daemon = null;
        Directory.Delete(_folder, recursive: true);
    }

    [Test]
    public async Task Main_WithSocket_ServesAnApplicationToTwoVmsAndEndsAtSigterm()
    {
        Start(Program, Arguments("--socket", SocketPath));
        await using (RemoteVm first = Connect("vm1"))
        await using (RemoteVm second = Connect("vm2"))
        {
            AssertAdds(first);
            AssertAdds(second);
        }

        await AssertEndsAsync();
        Assert.That(File.Exists(SocketPath), Is.False);
    }

    [Test]
    public async Task Main_SocketIsPassedBySystemd_ServesOnItAndSaysThatItIsReady()
    {
        using Socket listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(SocketPath));
        listener.Listen(4);
        string notify = Path.Combine(_folder, "notify");
        using Socket manager = new(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
        manager.Bind(new UnixDomainSocketEndPoint(notify));
        manager.ReceiveTimeout = 60_000;

        // As systemd does: descriptor 3, and the process id of the daemon itself.
        int descriptor = (int)listener.Handle;
        Assert.That(LibC.Control(listener.SafeHandle, LibC.F_SETFD, 0), Is.Zero);
        string command = $"exec 3<&{descriptor} {descriptor}<&-; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"";
        Start(
            "/bin/bash",
            ["-c", command, "bash", Program, .. Arguments()],
            start => start.Environment["NOTIFY_SOCKET"] = notify);

        byte[] message = new byte[64];
        int length = manager.Receive(message);
        await using (RemoteVm vm = Connect("vm1"))
        {
            AssertAdds(vm);
        }

        Assert.That(System.Text.Encoding.ASCII.GetString(message, 0, length), Is.EqualTo("READY=1"));
        await AssertEndsAsync();
    }

    [TestCase("--socket is missing")]
    [TestCase("unknown option '--sockets'", "--sockets", "x")]
    [TestCase("--heap: expected a number from 16", "--heap", "15")]
    [TestCase("--allow-users: expected user ids", "--allow-users", "root")]
    public void Main_WrongUsage_MessageAndStatus(string message, params string[] arguments)
    {
        _daemon = Process.Start(new ProcessStartInfo(Program, arguments) { RedirectStandardError = true })!;
        string errors = _daemon.StandardError.ReadToEnd();
        _daemon.WaitForExit();

        Assert.That((_daemon.ExitCode, errors), Is.EqualTo((2, errors)));
        Assert.That(errors, Does.Contain(message));
    }

    // Nobody may not be able to read the tests' folder.
    private static string[] Arguments(params string[] arguments) =>
        [.. arguments, "--user", Environment.UserName, "--log", "information"];

    private void Start(string program, string[] arguments, Action<ProcessStartInfo>? change = null)
    {
        ProcessStartInfo start = new(program, arguments);
        change?.Invoke(start);
        _daemon = Process.Start(start)!;
    }

    private RemoteVm Connect(string name)
    {
        RemoteTeeOptions options = new() { SocketPath = SocketPath, HandshakeTimeout = TimeSpan.FromMinutes(1) };
        RemoteVm? vm = null;
        Waiting.Until(() => TryConnect(), "The connection to the daemon");
        return vm!;

        // The socket is there a moment before it listens.
        bool TryConnect()
        {
            try
            {
                vm = new RemoteVm(options, name);
                return true;
            }
            catch (TeeUnavailableException) when (_daemon is { HasExited: false })
            {
                return false;
            }
        }
    }

    private static void AssertAdds(RemoteVm vm)
    {
        uint session = vm.Driver.OpenSession(Sum).Session;
        GuestMessage answer = vm.Driver.Invoke(session, 0, GuestParameter.ValueInOut(20, 22));

        Assert.That((answer.ReturnCode, answer.Parameters[0].A), Is.EqualTo((0u, 42ul)));
    }

    private async Task AssertEndsAsync()
    {
        using Process kill = Process.Start("/bin/kill", ["-TERM", $"{_daemon!.Id}"]);
        await kill.WaitForExitAsync();
        await _daemon.WaitForExitAsync();
        Assert.That(_daemon.ExitCode, Is.Zero);
    }
}
