using System.Buffers.Binary;
using System.Diagnostics;
using System.Net.Sockets;
using OpTeeMediator.Backends;
using OpTeeMediator.FirmwareTpmTests;
using OpTeeMediator.Kvm.SystemCalls;
using OpTeeMediator.Remote;
using OpTeeMediator.SoftwareTee.FirmwareTpm;
using OpTeeMediator.Testing;

namespace OpTeeMediator.RemoteTests;

/// <summary>The sample daemon, as an operator and as systemd start it.</summary>
internal sealed class DaemonTests
{
    private string _folder = "";
    private Process? _daemon;
    private Process? _otherDaemon;

    private string SocketPath => Path.Combine(_folder, "tee");

    private static string Program => Path.Combine(AppContext.BaseDirectory, "teedaemon");

    [SetUp]
    public void SetUp() => _folder = Directory.CreateTempSubdirectory("optee-daemon").FullName;

    [TearDown]
    public void TearDown()
    {
        foreach (Process? daemon in (Process?[])[_daemon, _otherDaemon])
        {
            if (daemon is { HasExited: false })
            {
                daemon.Kill(entireProcessTree: true);
                daemon.WaitForExit();
            }

            daemon?.Dispose();
        }

        (_daemon, _otherDaemon) = (null, null);
        Directory.Delete(_folder, recursive: true);
    }

    [Test]
    public async Task Main_WithSocket_ServesAnApplicationToTwoVmsAndEndsAtSigterm()
    {
        Start(Program, Arguments("--socket", SocketPath));
        await using (RemoteVm first = Connect("vm1"))
        await using (RemoteVm second = Connect("vm2"))
        {
            DaemonClient.AssertAdds(first);
            DaemonClient.AssertAdds(second);
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
            DaemonClient.AssertAdds(vm);
        }

        Assert.That(System.Text.Encoding.ASCII.GetString(message, 0, length), Is.EqualTo("READY=1"));
        await AssertEndsAsync();
    }

    [Test]
    public async Task Main_WithStorageAndKilledAtRandomMoments_ObjectsAreTheOldOrTheNewVersionAndOfTheirVmAlone()
    {
        bool isFull = Environment.GetEnvironmentVariable("OPTEE_MEDIATOR_FULL") is { Length: > 0 };
        int kills = isFull ? 50 : 3;
        string[] arguments = Arguments("--socket", SocketPath, "--storage", Path.Combine(_folder, "db"));
        Start(Program, arguments);
        await using RemoteVm vm = Connect("vm1", Guid.NewGuid());
        await using RemoteVm other = Connect("vm2", Guid.NewGuid());
        ulong page = vm.Driver.AllocatePage();
        _ = vm.Driver.Register([page], 0, 4096, 0x55);
        ulong otherPage = other.Driver.AllocatePage();
        _ = other.Driver.Register([otherPage], 0, 4096, 0x55);
        Random random = new(3);
        byte version = 1;
        byte stored = 1;
        int writes = 0;
        vm.Driver.Write<byte>(page, [(byte)'o', version]);
        uint session = DaemonClient.Open(vm, DaemonClient.Objects);
        Assert.That(DaemonClient.InvokeObjects(vm, session, DaemonClient.Write).ReturnCode, Is.Zero);
        for (; kills > 0; kills--)
        {
            Task killing = Task.Run(async () =>
            {
                await Task.Delay(random.Next(50, 400));
                _daemon!.Kill(entireProcessTree: true);
                await _daemon.WaitForExitAsync();
            });
            uint code = 0;
            while (code == 0)
            {
                version++;
                writes++;
                vm.Driver.Write<byte>(page, [(byte)'o', version]);
                code = DaemonClient.InvokeObjects(vm, session, DaemonClient.Write).ReturnCode;
                stored = code == 0 ? version : stored;
            }

            Assert.That((TeeReturnCode)code, Is.EqualTo(TeeReturnCode.TargetDead));
            await killing;
            _daemon!.Dispose();
            Start(Program, arguments);
            session = DaemonClient.Open(vm, DaemonClient.Objects);
            code = DaemonClient.InvokeObjects(vm, session, DaemonClient.Read).ReturnCode;
            byte[] read = new byte[2];
            vm.Driver.Read<byte>(page, read);
            Assert.That(code, Is.Zero);
            Assert.That(read[1], Is.EqualTo(stored).Or.EqualTo(version));
            (stored, version) = (read[1], read[1]);
        }

        TestContext.Out.WriteLine($"{writes} writes");

        // The other VM has no such object.
        other.Driver.Write<byte>(otherPage, [(byte)'o']);
        Assert.That(
            (TeeReturnCode)DaemonClient.InvokeObjects(
                other, DaemonClient.Open(other, DaemonClient.Objects), DaemonClient.Read).ReturnCode,
            Is.EqualTo(TeeReturnCode.ItemNotFound));
    }

    // A primary key depends on the TPM's seed alone.
    [Test]
    public async Task Main_WithTpmAndKilled_VmHasItsTpmAgainAndNoOther()
    {
        string tpms = Path.Combine(_folder, "tpm");
        _ = Directory.CreateDirectory(tpms, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        string[] arguments =
            Arguments("--socket", SocketPath, "--storage", Path.Combine(_folder, "db"), "--tpm", tpms);
        Start(Program, arguments);
        await using RemoteVm vm = Connect("vm1", Guid.NewGuid());
        await using RemoteVm other = Connect("vm2", Guid.NewGuid());
        byte[] key = CreateKeyInTpm(vm);
        byte[] otherKey = CreateKeyInTpm(other);

        _daemon!.Kill(entireProcessTree: true);
        await _daemon.WaitForExitAsync();
        _daemon.Dispose();
        Start(Program, arguments);

        Assert.That(CreateKeyInTpm(vm), Is.EqualTo(key));
        Assert.That(otherKey, Has.Length.EqualTo(key.Length).And.Not.EqualTo(key));
    }

    // The saved VM is still there: the one that goes on has its storage.
    [Test]
    public async Task Main_VmIsSavedAtItAndRestoredAtAnother_SessionsGoOnAndStorageMovesWithThem()
    {
        string[] storage = ["--storage", Path.Combine(_folder, "db")];
        Start(Program, Arguments(["--socket", SocketPath, .. storage]));
        await using RemoteVm vm = Connect("vm1", Guid.NewGuid());
        ulong page = vm.Driver.AllocatePage();
        _ = vm.Driver.Register([page], 0, 4096, 0x55);
        vm.Driver.Write<byte>(page, [(byte)'o', 7]);
        uint objects = DaemonClient.Open(vm, DaemonClient.Objects);
        Assert.That(DaemonClient.InvokeObjects(vm, objects, DaemonClient.Write).ReturnCode, Is.Zero);
        _ = vm.Driver.CloseSession(objects);
        uint sum = DaemonClient.Open(vm, DaemonClient.Sum);
        byte[] state = await vm.SaveAsync();

        await vm.RestoreAsync(await StartOtherAsync(storage), state);

        GuestMessage answer = vm.Driver.Invoke(sum, 0, GuestParameter.ValueInOut(20, 22));
        Assert.That((answer.ReturnCode, answer.Parameters[0].A), Is.EqualTo((0u, 42ul)));
        vm.Driver.Write<byte>(page, [(byte)'o', 0]);
        objects = DaemonClient.Open(vm, DaemonClient.Objects);
        Assert.That(DaemonClient.InvokeObjects(vm, objects, DaemonClient.Read).ReturnCode, Is.Zero);
        byte[] read = new byte[2];
        vm.Driver.Read<byte>(page, read);
        Assert.That(read[1], Is.EqualTo(7));
        Assert.That(DaemonClient.InvokeObjects(vm, objects, DaemonClient.Write).ReturnCode, Is.Zero);
    }

    // What a TPM forgets at a restart: a register.
    [Test]
    public async Task Main_VmWithTpmIsSavedAndItIsKilled_TpmGoesOnAtAnother()
    {
        string tpms = Path.Combine(_folder, "tpm");
        _ = Directory.CreateDirectory(tpms, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        string[] tpm = ["--storage", Path.Combine(_folder, "db"), "--tpm", tpms];
        Start(Program, Arguments(["--socket", SocketPath, .. tpm]));
        await using RemoteVm vm = Connect("vm1", Guid.NewGuid());
        ulong[] pages = vm.Driver.AllocatePages(2, 1);
        Assert.That(vm.Driver.Register(pages, 0, 2 * 4096, 0x66).ReturnCode, Is.Zero);
        uint session = DaemonClient.Open(vm, FirmwareTpmExtensions.FirmwareTpmUuid);
        _ = Execute(vm, session, pages, TpmCommands.Startup);
        byte[] before = TpmCommands.DigestOf(Execute(vm, session, pages, TpmCommands.ReadPcr));
        _ = Execute(vm, session, pages, TpmCommands.ExtendPcr);
        byte[] extended = TpmCommands.DigestOf(Execute(vm, session, pages, TpmCommands.ReadPcr));
        byte[] state = await vm.SaveAsync();
        _daemon!.Kill(entireProcessTree: true);
        await _daemon.WaitForExitAsync();

        await vm.RestoreAsync(await StartOtherAsync(tpm), state);

        byte[] restored = TpmCommands.DigestOf(Execute(vm, session, pages, TpmCommands.ReadPcr));
        Assert.That(restored, Is.EqualTo(extended).And.Not.EqualTo(before));
    }

    [TestCase("--socket is missing")]
    [TestCase("Unrecognized command or argument '--sockets'.", "--sockets", "x")]
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

    /// <summary>Starts another one beside it, and waits until it serves.</summary>
    private async Task<RemoteTeeOptions> StartOtherAsync(string[] arguments)
    {
        string path = Path.Combine(_folder, "other");
        _otherDaemon = Process.Start(Program, Arguments(["--socket", path, .. arguments]));
        Waiting.Until(() => File.Exists(path) || _otherDaemon.HasExited, "The start of the other daemon");
        RemoteVm probe = DaemonClient.Connect(path, () => !_otherDaemon.HasExited, "probe", Guid.Empty);
        await probe.DisposeAsync();
        return new RemoteTeeOptions { SocketPath = path, HandshakeTimeout = TimeSpan.FromMinutes(1) };
    }

    // The key's public part and what proves that it was created.
    private static byte[] CreateKeyInTpm(RemoteVm vm)
    {
        const ulong Cookie = 0x66;
        ulong[] pages = vm.Driver.AllocatePages(2, 1);
        Assert.That(vm.Driver.Register(pages, 0, 2 * 4096, Cookie).ReturnCode, Is.Zero);
        uint session = DaemonClient.Open(vm, FirmwareTpmExtensions.FirmwareTpmUuid);
        _ = Execute(vm, session, pages, TpmCommands.Startup);
        byte[] response = Execute(vm, session, pages, TpmCommands.CreateKey);
        _ = vm.Driver.Unregister(Cookie);
        return response;
    }

    private static byte[] Execute(RemoteVm vm, uint session, ulong[] pages, byte[] command)
    {
        const ulong Cookie = 0x66;
        vm.Driver.Write<byte>(pages[0], command);
        GuestMessage answer = vm.Driver.Invoke(
            session,
            0,
            GuestParameter.RegisteredIn(0, (ulong)command.Length, Cookie),
            GuestParameter.RegisteredInOut(4096, 4096, Cookie));
        byte[] output = new byte[answer.Parameters[1].B];
        vm.Driver.Read<byte>(pages[1], output);
        uint code = BinaryPrimitives.ReadUInt32BigEndian(output.AsSpan(6));
        Assert.That((answer.ReturnCode, code), Is.EqualTo((0u, 0u)));
        return output;
    }

    private RemoteVm Connect(string name) => Connect(name, Guid.Empty);

    private RemoteVm Connect(string name, Guid identity) =>
        DaemonClient.Connect(SocketPath, () => _daemon is { HasExited: false }, name, identity);

    private async Task AssertEndsAsync()
    {
        using Process kill = Process.Start("/bin/kill", ["-TERM", $"{_daemon!.Id}"]);
        await kill.WaitForExitAsync();
        await _daemon.WaitForExitAsync();
        Assert.That(_daemon.ExitCode, Is.Zero);
    }
}
