using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Applications;

namespace OpTeeMediator.Tests.SoftwareTee;

internal sealed class PanicTests
{
    // The id that operators filter on; it must not change.
    private const int PanickedEvent = 3000;

    private static readonly TeeResult TargetDead = new(TeeReturnCode.TargetDead, TeeOrigin.Tee);

    [Test]
    public async Task InvokeCommand_Throws_TargetDeadAndOneLogEntry()
    {
        await using SoftwareTeeBench bench =
            new(SoftwareTeeBench.PerSession, application => application.WhenInvoked = _ => throw new FormatException());
        ITeeSession session = await bench.OpenAsync();

        TeeResult result = await session.InvokeCommandAsync(SoftwareTeeBench.Command(0));

        Assert.That(result, Is.EqualTo(TargetDead));
        Assert.That(bench.Loggers.Entries, Has.Count.EqualTo(1));
        (EventId id, LogLevel level, string message, Exception? exception) = bench.Loggers.Entries.Single();
        Assert.That(id.Id, Is.EqualTo(PanickedEvent));
        Assert.That(level, Is.EqualTo(LogLevel.Error));
        Assert.That(message, Does.Contain(nameof(ScriptedApplication)).And.Contain("vm").And.Contain("InvokeCommand"));
        Assert.That(exception, Is.InstanceOf<FormatException>());
    }

    [Test]
    public async Task InvokeCommand_ThrowsAfterAnAwait_TargetDead()
    {
        await using SoftwareTeeBench bench =
            new(SoftwareTeeBench.PerSession, application => application.WhenInvoked = async _ =>
        {
            await Task.Yield();
            throw new FormatException();
        });

        TeeResult result = await (await bench.OpenAsync()).InvokeCommandAsync(SoftwareTeeBench.Command(0));

        Assert.That(result, Is.EqualTo(TargetDead));
    }

    [Test]
    public async Task InvokeCommand_AfterAPanic_TargetDeadWithoutCallingTheApplication()
    {
        await using SoftwareTeeBench bench =
            new(SoftwareTeeBench.PerSession, application => application.WhenInvoked = _ => throw new FormatException());
        ITeeSession session = await bench.OpenAsync();
        _ = await session.InvokeCommandAsync(SoftwareTeeBench.Command(1));

        TeeResult result = await session.InvokeCommandAsync(SoftwareTeeBench.Command(2));

        Assert.That(result, Is.EqualTo(TargetDead));
        Assert.That(bench.Instances.Single().Journal, Does.Not.Contain("InvokeCommand 2"));
        Assert.That(bench.Loggers.Entries, Has.Count.EqualTo(1));
    }

    [Test]
    public async Task InvokeCommand_OtherSessionOfTheDeadInstance_TargetDead()
    {
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.MultiSession,
            application => application.WhenInvoked = _ => throw new FormatException());
        ITeeSession session = await bench.OpenAsync();
        ITeeSession other = await bench.OpenAsync();
        _ = await session.InvokeCommandAsync(SoftwareTeeBench.Command(0));

        TeeResult result = await other.InvokeCommandAsync(SoftwareTeeBench.Command(0));

        Assert.That(result, Is.EqualTo(TargetDead));
    }

    [Test]
    public async Task InvokeCommand_OtherInstance_LivesOn()
    {
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.PerSession, application =>
            application.WhenInvoked = call =>
                call.CommandId == 0 ? throw new FormatException() : new(TeeReturnCode.Success));
        ITeeSession session = await bench.OpenAsync();
        ITeeSession other = await bench.OpenAsync();
        _ = await session.InvokeCommandAsync(SoftwareTeeBench.Command(0));

        TeeResult result = await other.InvokeCommandAsync(SoftwareTeeBench.Command(1));

        Assert.That(result, Is.EqualTo(TeeResult.Success));
    }

    [Test]
    public async Task CloseSession_AfterAPanic_CallsNothingMore()
    {
        await using SoftwareTeeBench bench =
            new(SoftwareTeeBench.KeepAlive, application => application.WhenInvoked = _ => throw new FormatException());
        ITeeSession session = await bench.OpenAsync();
        _ = await session.InvokeCommandAsync(SoftwareTeeBench.Command(0));

        await session.CloseAsync();
        await bench.DisposeAsync();

        Assert.That(bench.Instances.Single().Journal, Is.EqualTo(["Create", "OpenSession", "InvokeCommand 0"]));
    }

    [Test]
    public async Task OpenSession_AfterAPanicWithADeadSessionStillOpen_MakesANewInstance()
    {
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.SingleSession,
            application => application.WhenInvoked = _ => throw new FormatException());
        ITeeSession dead = await bench.OpenAsync();
        _ = await dead.InvokeCommandAsync(SoftwareTeeBench.Command(0));

        _ = await bench.OpenAsync();

        Assert.That(bench.Instances, Has.Count.EqualTo(2));
    }

    [Test]
    public async Task CloseSession_OfADeadInstance_LeavesItsSuccessor()
    {
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.SingleSession, application =>
            application.WhenInvoked = call =>
                call.CommandId == 0 ? throw new FormatException() : new(TeeReturnCode.Success));
        ITeeSession dead = await bench.OpenAsync();
        _ = await dead.InvokeCommandAsync(SoftwareTeeBench.Command(0));
        ITeeSession alive = await bench.OpenAsync();

        await dead.CloseAsync();

        Assert.That(await alive.InvokeCommandAsync(SoftwareTeeBench.Command(1)), Is.EqualTo(TeeResult.Success));
        Assert.That(await bench.TryOpenAsync(), Is.EqualTo(TeeResult.FromTee(TeeReturnCode.Busy)));
    }

    [Test]
    public async Task OpenSession_Throws_TargetDead()
    {
        await using SoftwareTeeBench bench =
            new(SoftwareTeeBench.PerSession, application => application.WhenOpened = _ => throw new FormatException());

        Assert.That(await bench.TryOpenAsync(), Is.EqualTo(TargetDead));
        Assert.That(bench.Instances.Single().Journal, Is.EqualTo(["Create", "OpenSession"]));
        Assert.That(bench.Loggers.Entries, Has.Count.EqualTo(1));
    }

    [Test]
    public async Task OpenSession_CreateThrows_TargetDeadAndTheNextTriesAgain()
    {
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.MultiSession,
            application => application.WhenCreated = () => throw new FormatException());

        Assert.That(await bench.TryOpenAsync(), Is.EqualTo(TargetDead));
        Assert.That(await bench.TryOpenAsync(), Is.EqualTo(TargetDead));
        Assert.That(bench.Instances, Has.Count.EqualTo(2));
        Assert.That(bench.Loggers.Entries, Has.Count.EqualTo(2));
    }

    [Test]
    public async Task OpenSession_FactoryThrows_TargetDead()
    {
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.PerSession, _ => throw new FormatException());

        Assert.That(await bench.TryOpenAsync(), Is.EqualTo(TargetDead));
        Assert.That(bench.Loggers.Entries, Has.Count.EqualTo(1));
    }

    [Test]
    public async Task OpenSession_FactoryReturnsAnInstanceTwice_TargetDead()
    {
        using RecordingLoggers loggers = new();
        TrustedApplicationManifest manifest = SoftwareTeeBench.PerSession;
        ScriptedApplication shared = new();
        SoftwareTeeBackend tee = new(new SoftwareTeeOptions().Add(manifest, () => shared));
        await using ITeePartition one = tee.CreatePartition(SoftwareTeeBench.VirtualMachine("one", loggers));
        await using ITeePartition two = tee.CreatePartition(SoftwareTeeBench.VirtualMachine("two", loggers));
        _ = await one.OpenSessionAsync(new TeeRequest { Application = manifest.Uuid });

        TeeResult result = await two.OpenSessionAsync(new TeeRequest { Application = manifest.Uuid });

        Assert.That(result, Is.EqualTo(TargetDead));
        Assert.That(loggers.Entries.Single().Exception!.Message, Does.Contain("must make a new instance"));
    }

    [Test]
    public async Task CloseSession_Throws_ClosesAndLogs()
    {
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.SingleSession,
            application => application.WhenClosed = _ => throw new FormatException());
        ITeeSession session = await bench.OpenAsync();

        await session.CloseAsync();

        Assert.That(bench.Loggers.Entries, Has.Count.EqualTo(1));
        Assert.That(bench.Instances.Single().Journal, Does.Not.Contain("Destroy"));
        Assert.That(await bench.TryOpenAsync(), Is.EqualTo(TeeResult.Success));
    }

    [Test]
    public async Task DisposeAsync_DestroyThrows_Logs()
    {
        SoftwareTeeBench bench = new(SoftwareTeeBench.KeepAlive,
            application => application.WhenDestroyed = () => throw new FormatException());
        await (await bench.OpenAsync()).CloseAsync();

        await bench.DisposeAsync();

        Assert.That(bench.Loggers.Entries.Single().Message, Does.Contain("Destroy"));
    }

    [Test]
    public async Task InvokeCommand_ApplicationAsksAValueForMemory_TargetDead()
    {
        await using SoftwareTeeBench bench =
            new(SoftwareTeeBench.PerSession, application => application.WhenInvoked = call => new(call[0].Write([1])));
        ITeeSession session = await bench.OpenAsync();

        TeeResult result = await session.InvokeCommandAsync(
            SoftwareTeeBench.Command(0, TeeParameter.Value(TeeParameterKind.ValueInput, 1, 2)));

        Assert.That(result, Is.EqualTo(TargetDead));
        Assert.That(bench.Loggers.Entries.Single().Exception!.Message,
            Does.Contain("Parameter 0 is ValueInput, which is no memory reference"));
    }

    [Test]
    public async Task InvokeCommand_InlineApplicationDoesNotComplete_TargetDead()
    {
        TaskCompletionSource<TeeReturnCode> never = new();
        await using SoftwareTeeBench bench = new(
            SoftwareTeeBench.PerSession with { Execution = TeeExecution.Inline }, application =>
                application.WhenInvoked = _ => new(never.Task));
        ITeeSession session = await bench.OpenAsync();

        ValueTask<TeeResult> result = session.InvokeCommandAsync(SoftwareTeeBench.Command(0));

        Assert.That(result.IsCompleted);
        Assert.That(await result, Is.EqualTo(TargetDead));
        Assert.That(bench.Loggers.Entries.Single().Exception!.Message,
            Does.Contain("inline application must be complete"));
    }
}
