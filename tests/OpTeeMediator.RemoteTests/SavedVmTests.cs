using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;
using OpTeeMediator.Remote;
using OpTeeMediator.Smccc;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.State;
using OpTeeMediator.Testing;

namespace OpTeeMediator.RemoteTests;

/// <summary>A VM is saved at one TEE server and goes on at another.</summary>
internal sealed class SavedVmTests
{
    private const uint TargetDead = (uint)TeeReturnCode.TargetDead;

    private readonly List<ServerProcess> _processes = [];
    private string _folder = "";
    private LogList _log = null!;

    [SetUp]
    public void SetUp()
    {
        _folder = Directory.CreateTempSubdirectory("optee-saved").FullName;
        _log = new LogList();
    }

    [TearDown]
    public void TearDown()
    {
        _processes.ForEach(process => process.Dispose());
        _processes.Clear();
        _log.Dispose();
        Directory.Delete(_folder, recursive: true);
        Environment.SetEnvironmentVariable("OPTEE_TEST_GATE", null);
    }

    private string Gate => Path.Combine(_folder, "gate");

    private static RemoteTeeOptions Options(string path) =>
        new() { SocketPath = path, HandshakeTimeout = TimeSpan.FromMinutes(1) };

    private RemoteTeeOptions First => Options(Path.Combine(_folder, "first"));

    private RemoteTeeOptions Second => Options(Path.Combine(_folder, "second"));

    private TeeServer Start(
        RemoteTeeOptions options, bool hasWorkers = false,
        Func<TeeServerOptions, TeeServerOptions>? change = null, ITeeBackend? tee = null)
    {
        TeeServerOptions server = new()
        {
            SocketPath = options.SocketPath,
            LoggerFactory = _log,
            Workers = hasWorkers ? SavedApplication.Workers : null,
        };
        return TeeServer.Start(tee ?? SavedApplication.CreateTee(), change?.Invoke(server) ?? server);
    }

    [Test]
    public async Task RestoreAsync_AtAnotherServer_SessionsAndMemoryGoOn([Values] bool hasWorkers)
    {
        await using TeeServer first = Start(First, hasWorkers);
        await using TeeServer second = Start(Second, hasWorkers);
        await using RemoteVm vm = new(First, "vm1", Guid.NewGuid());
        ulong page = vm.Driver.AllocatePage();
        Assert.That(vm.Driver.Register([page], 0, 4096, 0x77).ReturnCode, Is.Zero);
        vm.Driver.Write<byte>(page, [1, 2, 3]);
        uint own = Open(vm);
        uint closed = Open(vm);
        uint shared = Open(vm, SavedApplication.Single);
        uint random = Open(vm, OpTeeMediator.SoftwareTee.SoftwareTeeBackend.RandomNumberGeneratorUuid);
        uint kept = Open(vm, SavedApplication.Single);
        _ = vm.Driver.CloseSession(closed);
        _ = (Add(vm, own, 2), Add(vm, shared, 3), Add(vm, kept, 4));
        ulong process = Describe(vm, own);

        await vm.RestoreAsync(Second, await vm.SaveAsync());

        Assert.That(Add(vm, own, 10), Is.EqualTo((12UL, 12UL)));
        Assert.That(Add(vm, shared, 10), Is.EqualTo((17UL, 13UL)));
        Assert.That(Add(vm, kept, 10), Is.EqualTo((27UL, 14UL)));
        Assert.That(vm.Driver.Invoke(random, 1, GuestParameter.ValueOut()).ReturnCode, Is.Zero);
        GuestMessage sum = vm.Driver.Invoke(
            own, SavedApplication.Sum, GuestParameter.ValueIn(0, 0), GuestParameter.ValueOut(),
            GuestParameter.RegisteredIn(0, 3, 0x77));
        Assert.That((sum.ReturnCode, sum.Parameters[1].A), Is.EqualTo((0u, 6ul)));
        Assert.That(Describe(vm, own) != process, Is.EqualTo(hasWorkers));
        Assert.That(vm.Driver.CloseSession(own).ReturnCode, Is.Zero);
        Assert.That(Add(vm, Open(vm), 1), Is.EqualTo((1UL, 1UL)), "A new session of a new instance.");
        Waiting.Until(() => first.VirtualMachines == 0, "The end of the VM at its first server");
    }

    [Test]
    public async Task SaveAsync_LargeState_MovesInPiecesAndBeyondTheLimitsIsRefused()
    {
        const int Limit = 1 << 20;
        await using TeeServer first = Start(First, change: options => options with { MaximumState = Limit });
        await using TeeServer second = Start(Second);
        await using RemoteVm vm = new(First, "vm1", Guid.NewGuid());
        uint session = Open(vm);
        _ = Add(vm, session, 1);
        Grow(vm, session, Limit);
        Assert.That(
            () => vm.SaveAsync(),
            Throws.TypeOf<OpTeeStateException>().With.Message.Contains("TeeServerOptions.MaximumState"));
        vm.Guest.Resume();
        Assert.That(Add(vm, session, 1), Is.EqualTo((2UL, 2UL)), "The VM goes on.");

        Grow(vm, session, Limit - 500);
        byte[] state = await vm.SaveAsync();
        await vm.RestoreAsync(Second with { MaximumState = 64 << 10 }, state);
        Assert.That(Add(vm, session, 1), Is.EqualTo((3UL, 3UL)));

        Assert.That(
            () => vm.SaveAsync(),
            Throws.TypeOf<OpTeeStateException>().With.Message.Contains("RemoteTeeOptions.MaximumState"));
        vm.Guest.Resume();
        Assert.That(vm.Driver.Invoke(session, SavedApplication.Add).ReturnCode, Is.EqualTo(TargetDead));
    }

    [Test]
    public async Task RestoreAsync_StateIsLongerThanTheServerPermits_IsRefused()
    {
        await using TeeServer first = Start(First);
        await using TeeServer second = Start(Second, change: options => options with { MaximumState = 64 << 10 });
        await using RemoteVm vm = new(First, "vm1");
        uint session = Open(vm);
        Grow(vm, session, 64 << 10);
        byte[] state = await vm.SaveAsync();

        Assert.That(
            () => vm.RestoreAsync(Second, state),
            Throws.TypeOf<OpTeeStateException>().With.Message.Contains("TeeServerOptions.MaximumState"));
        vm.Guest.Resume();
        Assert.That(Add(vm, session, 1), Is.EqualTo((1UL, 1UL)), "The VM goes on where it was.");
        Waiting.Until(() => second.VirtualMachines == 0, "The end of the connection");
    }

    [Test]
    public async Task SaveAsync_CallWaitsForTheGuest_IsRefusedAndGoesOnOrIsDropped([Values] bool drops)
    {
        await using TeeServer first = Start(First, hasWorkers: true);
        await using TeeServer second = Start(Second, hasWorkers: true);
        await using RemoteVm vm = new(First, "vm1");
        uint session = Open(vm);
        uint other = Open(vm);
        _ = Add(vm, session, 5);
        SmcRegisters call = vm.Driver.Start(
            new GuestMessage(OpTeeMessage.CommandInvoke, GuestParameter.ValueIn(2, 0), GuestParameter.ValueOut())
            {
                Session = session,
                Function = SavedApplication.AddAfterTime,
            });
        while ((uint)call.X0 != OpTeeSmc.ReturnRpcCommand
            || vm.Driver.ReadMessage(vm.Driver.RpcPlace(call)).Command != OpTeeRpc.GetTime)
        {
            call = vm.Driver.Step(call);
        }

        if (!drops)
        {
            Assert.That(
                () => vm.SaveAsync(),
                Throws.TypeOf<OpTeeStateException>().With.Message.Contains("runs in application"));
            vm.Guest.Resume();
            Assert.That(vm.Driver.Finish(call), Is.Zero);
            Assert.That(Add(vm, session, 1), Is.EqualTo((8UL, 8UL)), "The call has its effect, once.");
            return;
        }

        await vm.RestoreAsync(Second, await vm.SaveAsync(drops: true));

        Assert.That(vm.Driver.Finish(call), Is.Zero);
        Assert.That(vm.Driver.ReadMessage(vm.Driver.MessagePage).ReturnCode, Is.EqualTo(TargetDead));
        Assert.That(vm.Driver.Invoke(session, SavedApplication.Add).ReturnCode, Is.EqualTo(TargetDead));
        Assert.That(Add(vm, other, 1), Is.EqualTo((1UL, 1UL)), "The other session goes on.");
    }

    [Test]
    public async Task SaveAsync_ApplicationOrServerCannotSave_IsRefusedUntilTheSessionIsClosed([Values] bool isOlder)
    {
        await using TeeServer first = Start(First, tee: isOlder ? new CommandBackend() : null);
        await using TeeServer second = Start(Second);
        await using RemoteVm vm = new(First, "vm1");
        uint session = Open(vm, isOlder ? RemoteBench.Application : SavedApplication.Staying.Uuid);

        Assert.That(
            () => vm.SaveAsync(),
            Throws.TypeOf<OpTeeStateException>().With.Message.Contains("a session with application"));
        vm.Guest.Resume();
        Assert.That(vm.Driver.CloseSession(session).ReturnCode, Is.Zero);
        await vm.RestoreAsync(Second, await vm.SaveAsync());

        Assert.That(Add(vm, Open(vm), 1), Is.EqualTo((1UL, 1UL)));
    }

    [Test]
    public async Task RestoreAsync_ServerCannotRestore_IsRefusedWithTheReason()
    {
        await using TeeServer first = Start(First);
        await using TeeServer second = Start(Second, tee: new CommandBackend());
        await using RemoteVm vm = new(First, "vm1");
        _ = Open(vm);
        byte[] state = await vm.SaveAsync();

        Assert.That(
            () => vm.RestoreAsync(Second, state),
            Throws.TypeOf<OpTeeStateException>().With.Message.Contains("of an older version"));
    }

    [Test]
    public async Task RestoreAsync_VmMayNotReachTheApplicationThere_IsRefused()
    {
        await using TeeServer first = Start(First);
        await using TeeServer second = Start(
            Second, change: options => options with { Access = TeeAccess.Only([SavedApplication.PerSession.Uuid]) });
        await using RemoteVm vm = new(First, "vm1");
        _ = (Open(vm), Open(vm, SavedApplication.Single));
        byte[] state = await vm.SaveAsync();

        Assert.That(
            () => vm.RestoreAsync(Second, state),
            Throws.TypeOf<OpTeeStateException>().With.Message.Contains($"{SavedApplication.Single.Uuid}"));
        Assert.That(_log.Count("is refused"), Is.EqualTo(1));
    }

    // At the partition, where the mediator's own protection of the state is not.
    [Test]
    public async Task RestoreAsync_ChangedOrCutOrOfAnotherVm_IsRefusedAndTheServerGoesOn()
    {
        await using TeeServer first = Start(First);
        Guid identity = Guid.NewGuid();
        ISavableTeePartition saved = Connect(identity);
        TeeRequest opening = new()
        {
            Operation = TeeOperation.OpenSession,
            Application = SavedApplication.PerSession.Uuid,
        };
        Assert.That((await saved.OpenSessionAsync(opening)).IsSuccess);
        Assert.That(saved.CanSave(opening.Session!));
        byte[] state = (await saved.SaveAsync([opening.Session!])).ToArray();

        for (int index = 0; index < state.Length; index += 3)
        {
            byte[] changed = [.. state];
            changed[index] ^= 0x10;
            await AssertIsRefusedAsync(identity, changed, 1);
            await AssertIsRefusedAsync(identity, state[..index], 1);
        }

        await AssertIsRefusedAsync(identity, [.. state, 0], 1);
        await AssertIsRefusedAsync(identity, state, 0);
        await AssertIsRefusedAsync(identity, state, 2);
        await AssertIsRefusedAsync(Guid.NewGuid(), state, 1);
        ISavableTeePartition restored = Connect(identity);
        Assert.That(await restored.RestoreAsync(state, 1), Has.Count.EqualTo(1).And.All.Not.Null);
        await restored.DisposeAsync();
        await saved.DisposeAsync();
        Waiting.Until(() => first.VirtualMachines == 0, "The end of all connections");

        async Task AssertIsRefusedAsync(Guid vm, byte[] bad, int sessions)
        {
            ISavableTeePartition partition = Connect(vm);
            Assert.That(async () => await partition.RestoreAsync(bad, sessions), Throws.TypeOf<OpTeeStateException>());
            await partition.DisposeAsync();
        }

        ISavableTeePartition Connect(Guid vm) => (ISavableTeePartition)new RemoteTeeBackend(First).CreatePartition(
            new TeeVirtualMachine("vm1", TeeAccess.All, 2, _log)
            {
                Identity = vm,
                MappingGranule = Environment.SystemPageSize,
            });
    }

    [Test]
    public async Task SaveAsync_WorkerOrServerIsKilledMeanwhile_FailsAndTheVmGoesOn([Values] bool isWorker)
    {
        ServerProcess server = StartProcess(First);
        await using RemoteVm vm = new(First, "vm1");
        uint session = Open(vm);
        await File.WriteAllTextAsync(Gate + ".save", "");
        Task<byte[]> saving = Task.Run(() => vm.SaveAsync());
        KillAtGate(server, isWorker);

        Assert.That(
            async () => await saving, Throws.TypeOf<OpTeeStateException>().With.Message.Contains("has ended"));
        File.Delete(Gate + ".save");
        vm.Guest.Resume();
        Assert.That(vm.Driver.Invoke(session, SavedApplication.Add).ReturnCode, Is.EqualTo(TargetDead));
        if (!isWorker)
        {
            _ = StartProcess(First);
        }

        uint next = 0;
        Waiting.Until(() => (next = vm.Driver.OpenSession(SavedApplication.PerSession.Uuid).Session) != 0, "A session");
        _ = Add(vm, next, 1);

        // The dead one is saved as what it is, the next as it is.
        await vm.RestoreAsync(First, await vm.SaveAsync());
        Assert.That(vm.Driver.Invoke(session, SavedApplication.Add).ReturnCode, Is.EqualTo(TargetDead));
        Assert.That(Add(vm, next, 1), Is.EqualTo((2UL, 2UL)));
    }

    [Test]
    public async Task RestoreAsync_WorkerOrServerIsKilledMeanwhile_FailsAndCanBeRepeated([Values] bool isWorker)
    {
        await using TeeServer first = Start(First);
        ServerProcess server = StartProcess(Second);
        await using RemoteVm vm = new(First, "vm1");
        uint session = Open(vm);
        _ = Add(vm, session, 3);
        byte[] state = await vm.SaveAsync();
        await File.WriteAllTextAsync(Gate + ".restore", "");
        Task restoring = Task.Run(() => vm.RestoreAsync(Second, state));
        KillAtGate(server, isWorker);

        Assert.That(
            async () => await restoring, Throws.TypeOf<OpTeeStateException>().With.Message.Contains("has ended"));
        File.Delete(Gate + ".restore");
        if (!isWorker)
        {
            _ = StartProcess(Second);
        }

        await vm.RestoreAsync(Second, state);
        Assert.That(Add(vm, session, 1), Is.EqualTo((4UL, 4UL)));
    }

    [Test]
    public async Task SaveAsync_ServerDoesNotEnd_FailsAtTheDeadlineAndTheVmGoesOn()
    {
        _ = StartProcess(First);
        await using RemoteVm vm = new(First with { StateDeadline = TimeSpan.FromMilliseconds(300) }, "vm1");
        uint session = Open(vm);
        await File.WriteAllTextAsync(Gate + ".save", "");

        Assert.That(
            () => vm.SaveAsync(), Throws.TypeOf<OpTeeStateException>().With.Message.Contains("has not answered"));
        File.Delete(Gate + ".save");
        vm.Guest.Resume();
        Assert.That(vm.Driver.Invoke(session, SavedApplication.Add).ReturnCode, Is.EqualTo(TargetDead));
        Waiting.Until(
            () => vm.Driver.OpenSession(SavedApplication.PerSession.Uuid).ReturnCode == 0, "A session");
    }

    // Its processes inherit where the gate is.
    private ServerProcess StartProcess(RemoteTeeOptions options)
    {
        Environment.SetEnvironmentVariable("OPTEE_TEST_GATE", Gate);
        ServerProcess process = new("saved", options.SocketPath);
        Environment.SetEnvironmentVariable("OPTEE_TEST_GATE", null);
        _processes.Add(process);
        return process;
    }

    private void KillAtGate(ServerProcess server, bool isWorker)
    {
        int worker = 0;
        Waiting.Until(
            () => File.Exists(Gate + ".reached") && int.TryParse(File.ReadAllText(Gate + ".reached"), out worker),
            "The application's part of it");
        Assert.That(worker, Is.Not.EqualTo(server.Id).And.Not.EqualTo(Environment.ProcessId));
        if (isWorker)
        {
            using System.Diagnostics.Process process = System.Diagnostics.Process.GetProcessById(worker);
            process.Kill();
        }
        else
        {
            server.KillAlone();
        }
    }

    private static uint Open(RemoteVm vm, TrustedApplicationManifest? manifest = null) =>
        Open(vm, (manifest ?? SavedApplication.PerSession).Uuid);

    private static uint Open(RemoteVm vm, Guid application)
    {
        GuestMessage answer = vm.Driver.OpenSession(application);
        Assert.That(answer.ReturnCode, Is.Zero, "The session should open.");
        return answer.Session;
    }

    private static (ulong Instance, ulong Session) Add(RemoteVm vm, uint session, uint number)
    {
        GuestMessage answer = vm.Driver.Invoke(
            session, SavedApplication.Add, GuestParameter.ValueIn(number, 0), GuestParameter.ValueOut());
        Assert.That(answer.ReturnCode, Is.Zero, "The application should add.");
        return (answer.Parameters[1].A, answer.Parameters[1].B);
    }

    private static void Grow(RemoteVm vm, uint session, int bytes) => Assert.That(
        vm.Driver.Invoke(session, SavedApplication.Grow, GuestParameter.ValueIn((ulong)bytes, 0)).ReturnCode, Is.Zero);

    private static ulong Describe(RemoteVm vm, uint session) => vm.Driver.Invoke(
        session, SavedApplication.Describe, GuestParameter.ValueIn(0, 0), GuestParameter.ValueOut()).Parameters[1].A;
}
