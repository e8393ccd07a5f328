using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Applications;

namespace OpTeeMediator.Tests.SoftwareTee;

internal sealed class LifecycleTests
{
    private static readonly TeeResult BusyFromTee = new(TeeReturnCode.Busy, TeeOrigin.Tee);

    [Test]
    public async Task OpenSession_UnknownApplication_ItemNotFoundFromTee()
    {
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.PerSession);

        TeeResult result = await bench.Partition.OpenSessionAsync(new TeeRequest { Application = Guid.NewGuid() });

        Assert.That(result, Is.EqualTo(new TeeResult(TeeReturnCode.ItemNotFound, TeeOrigin.Tee)));
    }

    [Test]
    public async Task Session_FromOpenToClose_CallsTheEntryPointsInOrder()
    {
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.PerSession);

        ITeeSession session = await bench.OpenAsync();
        TeeResult result = await session.InvokeCommandAsync(SoftwareTeeBench.Command(7));
        await session.CloseAsync();

        Assert.That(result, Is.EqualTo(TeeResult.Success));
        Assert.That(bench.Instances.Single().Journal,
            Is.EqualTo(["Create", "OpenSession", "InvokeCommand 7", "CloseSession", "Destroy"]));
    }

    [Test]
    public async Task InvokeCommand_ApplicationReturnsACode_AnswersItWithItsOrigin()
    {
        await using SoftwareTeeBench bench = new(
            SoftwareTeeBench.PerSession, application => application.WhenInvoked = _ => new(TeeReturnCode.AccessDenied));

        TeeResult result = await (await bench.OpenAsync()).InvokeCommandAsync(SoftwareTeeBench.Command(0));

        Assert.That(result, Is.EqualTo(new TeeResult(TeeReturnCode.AccessDenied, TeeOrigin.TrustedApplication)));
    }

    [Test]
    public async Task InvokeCommand_ApplicationOverridesNothing_NotImplemented()
    {
        TrustedApplicationManifest manifest = SoftwareTeeBench.PerSession;
        SoftwareTeeBackend tee = new(new SoftwareTeeOptions().Add(manifest, () => new EmptyApplication()));
        await using ITeePartition partition =
            tee.CreatePartition(SoftwareTeeBench.VirtualMachine("vm", new RecordingLoggers()));
        TeeRequest request = new() { Application = manifest.Uuid };
        _ = await partition.OpenSessionAsync(request);

        TeeResult result = await request.Session!.InvokeCommandAsync(SoftwareTeeBench.Command(0));

        Assert.That(result, Is.EqualTo(new TeeResult(TeeReturnCode.NotImplemented, TeeOrigin.TrustedApplication)));
    }

    [Test]
    public async Task OpenSession_InstancePerSession_CreatesOneEach()
    {
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.PerSession);

        _ = await bench.OpenAsync();
        _ = await bench.OpenAsync();

        Assert.That(bench.Instances, Has.Count.EqualTo(2));
    }

    [Test]
    public async Task OpenSession_SingleInstanceMultiSession_SharesTheInstance()
    {
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.MultiSession);

        _ = await bench.OpenAsync();
        _ = await bench.OpenAsync();

        Assert.That(bench.Instances.Single().Journal, Is.EqualTo(["Create", "OpenSession", "OpenSession"]));
    }

    [Test]
    public async Task SessionContext_TwoSessionsOfOneInstance_AreApart()
    {
        List<object?> seen = [];
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.MultiSession, application =>
        {
            application.WhenOpened = call =>
            {
                call.SessionContext = $"context of {call.Client.Uuid:D}";
                return TeeReturnCode.Success;
            };
            application.WhenClosed = call => seen.Add(call.SessionContext);
        });
        Guid first = new(1, 0, 0, [0, 0, 0, 0, 0, 0, 0, 0]);
        Guid second = new(2, 0, 0, [0, 0, 0, 0, 0, 0, 0, 0]);

        ITeeSession one = await bench.OpenAsync(new ClientIdentity(TeeLogin.User, first));
        ITeeSession two = await bench.OpenAsync(new ClientIdentity(TeeLogin.User, second));
        await one.CloseAsync();
        await two.CloseAsync();

        Assert.That(seen, Is.EqualTo([$"context of {first:D}", $"context of {second:D}"]));
    }

    [Test]
    public async Task OpenSession_SingleSessionTaken_BusyFromTee()
    {
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.SingleSession);

        _ = await bench.OpenAsync();

        Assert.That(await bench.TryOpenAsync(), Is.EqualTo(BusyFromTee));
    }

    [Test]
    public async Task OpenSession_SingleSessionInsideACommand_BusyAtOnce()
    {
        TaskCompletionSource<TeeReturnCode> command = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using SoftwareTeeBench bench = new(
            SoftwareTeeBench.SingleSession, application => application.WhenInvoked = _ => new(command.Task));
        ITeeSession session = await bench.OpenAsync();
        ThreadRunner<TeeResult> running = new(() => session.InvokeCommandAsync(SoftwareTeeBench.Command(0)));
        running.WaitUntilBlocked();

        TeeResult result = await bench.TryOpenAsync();

        command.SetResult(TeeReturnCode.Success);
        _ = await running.Result;
        Assert.That(result, Is.EqualTo(BusyFromTee));
    }

    [Test]
    public async Task OpenSession_SingleSessionClosedBefore_Opens()
    {
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.SingleSession);

        await (await bench.OpenAsync()).CloseAsync();
        _ = await bench.OpenAsync();

        Assert.That(bench.Instances, Has.Count.EqualTo(2));
    }

    [Test]
    public async Task CloseSession_NotTheLast_KeepsTheInstance()
    {
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.MultiSession);
        ITeeSession first = await bench.OpenAsync();
        _ = await bench.OpenAsync();

        await first.CloseAsync();

        Assert.That(bench.Instances.Single().Journal, Does.Not.Contain("Destroy"));
    }

    [Test]
    public async Task CloseSession_LastOfKeptAlive_KeepsTheInstance()
    {
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.KeepAlive);

        await (await bench.OpenAsync()).CloseAsync();
        _ = await bench.OpenAsync();

        Assert.That(bench.Instances.Single().Journal,
            Is.EqualTo(["Create", "OpenSession", "CloseSession", "OpenSession"]));
    }

    [Test]
    public async Task DisposeAsync_InstanceKeptAlive_DestroysItOnce()
    {
        SoftwareTeeBench bench = new(SoftwareTeeBench.KeepAlive);
        await (await bench.OpenAsync()).CloseAsync();

        await bench.DisposeAsync();
        await bench.DisposeAsync();

        Assert.That(bench.Instances.Single().Journal, Has.Exactly(1).EqualTo("Destroy"));
    }

    [Test]
    public async Task OpenSession_AfterDispose_Throws()
    {
        SoftwareTeeBench bench = new(SoftwareTeeBench.PerSession);
        await bench.DisposeAsync();

        Assert.That(bench.TryOpenAsync, Throws.InstanceOf<ObjectDisposedException>());
    }

    [Test]
    public async Task OpenSession_CreateFails_AnswersItsCodeAndDropsTheInstance()
    {
        await using SoftwareTeeBench bench = new(
            SoftwareTeeBench.KeepAlive, application => application.WhenCreated = () => TeeReturnCode.OutOfMemory);

        TeeResult result = await bench.TryOpenAsync();
        _ = await bench.TryOpenAsync();

        Assert.That(result, Is.EqualTo(new TeeResult(TeeReturnCode.OutOfMemory, TeeOrigin.TrustedApplication)));
        Assert.That(bench.Instances, Has.Count.EqualTo(2));
        Assert.That(bench.Instances[0].Journal, Is.EqualTo(["Create"]));
    }

    [Test]
    public async Task OpenSession_EntryPointRefuses_DestroysTheInstanceWithoutClosing()
    {
        await using SoftwareTeeBench bench = new(
            SoftwareTeeBench.SingleSession, application => application.WhenOpened = _ => TeeReturnCode.AccessDenied);

        TeeResult result = await bench.TryOpenAsync();

        Assert.That(result, Is.EqualTo(new TeeResult(TeeReturnCode.AccessDenied, TeeOrigin.TrustedApplication)));
        Assert.That(bench.Instances.Single().Journal, Is.EqualTo(["Create", "OpenSession", "Destroy"]));
    }

    [Test]
    public async Task OpenSession_ConcurrentEntryPointRefuses_DestroysTheInstance()
    {
        await using SoftwareTeeBench bench = new(
            SoftwareTeeBench.Concurrent, application => application.WhenOpened = _ => TeeReturnCode.AccessDenied);

        _ = await bench.TryOpenAsync();

        Assert.That(bench.Instances.Single().Journal, Is.EqualTo(["Create", "OpenSession", "Destroy"]));
    }

    [Test]
    public async Task OpenSession_Refused_SetsNoSession()
    {
        await using SoftwareTeeBench bench = new(
            SoftwareTeeBench.PerSession, application => application.WhenOpened = _ => TeeReturnCode.AccessDenied);
        TeeRequest request = bench.Opening();

        _ = await bench.Partition.OpenSessionAsync(request);

        Assert.That(request.Session, Is.Null);
    }

    // A login type that no specification has: the tee passes on what the guest claims.
    [TestCase(TeeLogin.Public)]
    [TestCase(TeeLogin.Kernel)]
    [TestCase((TeeLogin)0xefff_fff0)]
    public async Task Client_AnyLogin_IsTheGuestsClaim(TeeLogin login)
    {
        ClientIdentity seen = default;
        await using SoftwareTeeBench bench =
            new(SoftwareTeeBench.PerSession, application => application.WhenInvoked = call =>
        {
            seen = call.Client;
            return new(TeeReturnCode.Success);
        });
        ClientIdentity client = new(login, Guid.NewGuid());

        _ = await (await bench.OpenAsync(client)).InvokeCommandAsync(SoftwareTeeBench.Command(0));

        Assert.That(seen, Is.EqualTo(client));
    }

    [Test]
    public async Task CreatePartition_TwoVirtualMachines_ShareNothing()
    {
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.SingleSession);
        await using ITeePartition other =
            bench.Tee.CreatePartition(SoftwareTeeBench.VirtualMachine("other", bench.Loggers));
        ITeeSession session = await bench.OpenAsync();

        TeeResult result = await other.OpenSessionAsync(bench.Opening());
        await session.CloseAsync();

        Assert.That(result, Is.EqualTo(TeeResult.Success));
        Assert.That(bench.Instances, Has.Count.EqualTo(2));
        Assert.That(bench.Instances[1].Journal, Is.EqualTo(["Create", "OpenSession"]));
    }

    [Test]
    public async Task DisposeAsync_OneOfTwoVirtualMachines_LeavesTheOther()
    {
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.KeepAlive);
        ITeePartition other = bench.Tee.CreatePartition(SoftwareTeeBench.VirtualMachine("other", bench.Loggers));
        ITeeSession session = await bench.OpenAsync();
        _ = await other.OpenSessionAsync(bench.Opening());

        await other.DisposeAsync();

        Assert.That((await session.InvokeCommandAsync(SoftwareTeeBench.Command(0))).IsSuccess);
    }

    [Test]
    public async Task Add_FactoryWithVirtualMachine_LearnsForWhom()
    {
        List<string> names = [];
        TrustedApplicationManifest manifest = SoftwareTeeBench.PerSession;
        SoftwareTeeBackend tee = new(new SoftwareTeeOptions().Add(manifest, virtualMachine =>
        {
            names.Add(virtualMachine.Name);
            return new EmptyApplication();
        }));
        await using ITeePartition partition =
            tee.CreatePartition(SoftwareTeeBench.VirtualMachine("blue", new RecordingLoggers()));

        _ = await partition.OpenSessionAsync(new TeeRequest { Application = manifest.Uuid });

        Assert.That(names, Is.EqualTo(["blue"]));
    }

    private sealed class EmptyApplication : TrustedApplication;
}
