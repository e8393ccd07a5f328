using System.Diagnostics;
using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;
using OpTeeMediator.Remote;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;

namespace OpTeeMediator.RemoteTests;

/// <summary>Each VM has a process of its own: what an application does to it harms no other VM.</summary>
internal sealed class WorkerTests
{
    private const int MaximumFiles = 200;

    private string _folder = "";
    private LogList _log = null!;
    private TeeServer _server = null!;
    private RemoteVm _vm = null!;
    private RemoteVm _other = null!;

    [SetUp]
    public void SetUp()
    {
        _folder = Directory.CreateTempSubdirectory("optee-remote").FullName;
        _log = new LogList();
        _server = TeeServer.Start(new CommandBackend(), new TeeServerOptions
        {
            SocketPath = Path,
            LoggerFactory = _log,
            Workers = new TeeWorkerOptions
            {
                FileName = ServerProcess.ProgramPath,
                MaximumFiles = MaximumFiles,
                HeapLimit = 64 << 20,

                // The tests' own program need not be readable for others.
                UserName = null,
            },
        });
        _vm = new RemoteVm(Options, "vm1");
        _other = new RemoteVm(Options, "vm2");
    }

    [TearDown]
    public async Task TearDown()
    {
        await _vm.DisposeAsync();
        await _other.DisposeAsync();
        await _server.DisposeAsync();
        _log.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    private string Path => System.IO.Path.Combine(_folder, "tee");

    private RemoteTeeOptions Options => new()
    {
        SocketPath = Path,
        HandshakeTimeout = TimeSpan.FromMinutes(1),
        TerminationDeadline = TimeSpan.FromSeconds(1),
    };

    [Test]
    public void Worker_OfEachVm_IsAProcessOfItsOwnWithFewRights()
    {
        GuestMessage answer = _vm.Invoke(_vm.Open(), CommandBackend.Describe);
        GuestMessage other = _other.Invoke(_other.Open(), CommandBackend.Describe);

        Assert.Multiple(() =>
        {
            Assert.That(answer.ReturnCode, Is.Zero);
            Assert.That(answer.Parameters[0].A, Is.EqualTo(MaximumFiles), "RLIMIT_NOFILE");
            Assert.That(answer.Parameters[0].B, Is.EqualTo(1), "no_new_privs");
            Assert.That(answer.Parameters[1].B, Is.Zero, "RLIMIT_CORE");
            Assert.That(answer.Parameters[1].A, Is.Not.EqualTo((ulong)Environment.ProcessId));
            Assert.That(answer.Parameters[1].A, Is.Not.EqualTo(other.Parameters[1].A));
        });
    }

    [Test]
    public async Task Invoke_ApplicationMakesDeniedSystemCalls_TheyFailUnlessTheServerPermitsThem()
    {
        const int FilterMode = 2;
        const int EPERM = 1;
        string path = Path + "2";
        await using TeeServer server = TeeServer.Start(new CommandBackend(), new TeeServerOptions
        {
            SocketPath = path,
            Workers = new TeeWorkerOptions
            {
                FileName = ServerProcess.ProgramPath,
                UserName = null,
                RequiresSystemCallFilter = true,
                MayStartPrograms = true,
            },
        });
        await using RemoteVm permitted = new(Options with { SocketPath = path }, "vm3");

        GuestMessage answer = _vm.Invoke(_vm.Open(), CommandBackend.TryDeniedCalls);
        GuestMessage other = permitted.Invoke(permitted.Open(), CommandBackend.TryDeniedCalls);

        Assert.Multiple(() =>
        {
            Assert.That((answer.ReturnCode, other.ReturnCode), Is.EqualTo((0u, 0u)));
            Assert.That(answer.Parameters[0].A, Is.EqualTo(FilterMode));
            Assert.That(answer.Parameters[0].B, Is.Zero, "threads without the filter");
            Assert.That(answer.Parameters[1].A, Is.EqualTo(EPERM), "a socket of AF_VSOCK");
            Assert.That(answer.Parameters[1].B, Is.EqualTo(EPERM), "a program");
            Assert.That(other.Parameters[0].A, Is.EqualTo(FilterMode));
            Assert.That(other.Parameters[1].A, Is.EqualTo(EPERM), "a socket where programs are permitted");
            Assert.That(other.Parameters[1].B, Is.Zero, "a program where programs are permitted");
        });
    }

    [Test]
    public void Kill_OfAWorker_TargetDeadForItsVmAloneAndANewProcessForTheNextSession()
    {
        uint session = _vm.Open();
        uint otherSession = _other.Open();
        int worker = (int)_vm.Invoke(session, CommandBackend.Describe).Parameters[1].A;
        SmcRegisters call = _vm.Start(session, CommandBackend.Loop);

        Process.GetProcessById(worker).Kill();
        uint answer = _vm.Driver.Finish(call);
        uint code = _vm.Driver.ReadMessage(_vm.Driver.MessagePage, 0).ReturnCode;

        Assert.That((answer, (TeeReturnCode)code), Is.EqualTo((OpTeeSmc.ReturnOk, TeeReturnCode.TargetDead)));
        Assert.That(_other.Invoke(otherSession, CommandBackend.Add).ReturnCode, Is.Zero);
        _vm.AssertServed();
        Waiting.Until(() => _log.Count("has died with code 137") == 1, "The log entry");
    }

    [TestCase(CommandBackend.Overflow, TeeReturnCode.TargetDead, TeeReturnCode.TargetDead)]
    [TestCase(CommandBackend.Allocate, TeeReturnCode.TargetDead, TeeReturnCode.Communication)]
    public void Invoke_ApplicationExhaustsItsProcess_OtherVmsDoNotNotice(
        uint command, TeeReturnCode expected, TeeReturnCode permitted)
    {
        uint otherSession = _other.Open();

        GuestMessage answer = _vm.Invoke(_vm.Open(), command);

        Assert.That((TeeReturnCode)answer.ReturnCode, Is.EqualTo(expected).Or.EqualTo(permitted));
        Assert.That(_other.Invoke(otherSession, CommandBackend.Add).ReturnCode, Is.Zero);
        _vm.AssertServed();
    }

    [Test]
    public async Task DisposeAsync_ApplicationLoops_ItsProcessEndsAndOtherVmsDoNotNotice()
    {
        uint session = _vm.Open();
        int worker = (int)_vm.Invoke(session, CommandBackend.Describe).Parameters[1].A;
        _ = _vm.Start(session, CommandBackend.Loop);
        _other.AssertServed();

        await _vm.Guest.DisposeAsync();

        _other.AssertServed();
        Waiting.Until(() => !Directory.Exists($"/proc/{worker}"), "The end of the process");
        Assert.That(_vm.Log.Count("the connection is closed"), Is.EqualTo(1));
    }

    /// <summary>The VM is destroyed between the call of the guest and the start of its operation, which nothing
    /// cancels.</summary>
    [Test]
    public async Task InvokeCommand_BeginsAfterItsVmWasDestroyed_EndsAfterTheDeadline()
    {
        TeeVirtualMachine machine =
            new("vm3", TeeAccess.All, 2, _log) { MappingGranule = Environment.SystemPageSize };
        ITeePartition partition = new RemoteTeeBackend(Options).CreatePartition(machine);
        TeeRequest opening =
            new() { Operation = TeeOperation.OpenSession, Application = RemoteBench.Application };
        _ = await partition.OpenSessionAsync(opening);
        TeeRequest request = new() { Operation = TeeOperation.InvokeCommand, CommandId = CommandBackend.Loop };
        _ = request.RequestTermination();

        TeeResult result = await Task.Run(async () => await opening.Session!.InvokeCommandAsync(request))
            .WaitAsync(TimeSpan.FromMinutes(2));

        Assert.That(result.Code, Is.EqualTo(TeeReturnCode.TargetDead));
        await partition.DisposeAsync();
    }

    [Test]
    public async Task DisposeAsync_OfTheServer_ProcessesEnd()
    {
        int worker = (int)_vm.Invoke(_vm.Open(), CommandBackend.Describe).Parameters[1].A;

        await _server.DisposeAsync();

        Assert.That(Directory.Exists($"/proc/{worker}"), Is.False);
        Assert.That(_log.Count("has died"), Is.Zero, () => string.Join('\n', _log.Messages));
    }

    [Test]
    public async Task CreatePartition_ProgramIsNoWorker_ConnectionIsClosedAndTheLogSaysWhy()
    {
        string path = Path + "2";
        using LogList log = new();
        await using TeeServer server = TeeServer.Start(new CommandBackend(), new TeeServerOptions
        {
            SocketPath = path,
            LoggerFactory = log,
            Workers = new TeeWorkerOptions { FileName = "/bin/false", UserName = null },
        });

        Assert.That(
            () => _ = new RemoteVm(Options with { SocketPath = path }, "vm3"),
            Throws.InstanceOf<TeeUnavailableException>());
        Waiting.Until(() => log.Count("must call TeeWorker.Run") == 1, "The log entry");
    }
}
