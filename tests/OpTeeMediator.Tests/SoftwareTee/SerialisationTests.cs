using OpTeeMediator.Backends;

namespace OpTeeMediator.Tests.Software;

internal sealed class SerialisationTests
{
    [Test]
    public async Task InvokeCommand_SessionBusy_WaitsItsTurn()
    {
        using ManualResetEventSlim mayLeave = new();
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.PerSession, application => application.WhenInvoked = _ => Blocking(mayLeave));
        ITeeSession session = await bench.OpenAsync();

        ThreadRunner<TeeResult> first = new(() => session.InvokeCommandAsync(SoftwareTeeBench.Command(1)));
        first.WaitUntilBlocked();
        ThreadRunner<TeeResult> second = new(() => session.InvokeCommandAsync(SoftwareTeeBench.Command(2)));
        second.WaitUntilBlocked();

        Assert.That(bench.Instances.Single().Journal, Is.EqualTo(["Create", "OpenSession", "InvokeCommand 1"]));
        mayLeave.Set();
        Assert.That(await first.Result, Is.EqualTo(TeeResult.Success));
        Assert.That(await second.Result, Is.EqualTo(TeeResult.Success));
        Assert.That(bench.Instances.Single().Journal, Is.EqualTo(["Create", "OpenSession", "InvokeCommand 1", "InvokeCommand 2"]));
    }

    [Test]
    public async Task InvokeCommand_AsynchronousCommandRuns_WaitsItsTurn()
    {
        TaskCompletionSource<TeeReturnCode> command = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.PerSession, application => application.WhenInvoked = _ => new(command.Task));
        ITeeSession session = await bench.OpenAsync();
        ValueTask<TeeResult> first = session.InvokeCommandAsync(SoftwareTeeBench.Command(1));

        ThreadRunner<TeeResult> second = new(() => session.InvokeCommandAsync(SoftwareTeeBench.Command(2)));
        second.WaitUntilBlocked();

        Assert.That(bench.Instances.Single().Journal, Does.Not.Contain("InvokeCommand 2"));
        command.SetResult(TeeReturnCode.NoData);
        Assert.That((await first).Code, Is.EqualTo(TeeReturnCode.NoData));
        Assert.That((await second.Result).Code, Is.EqualTo(TeeReturnCode.NoData));
    }

    [Test]
    public async Task InvokeCommand_OtherSessionOfTheSingleInstanceBusy_WaitsItsTurn()
    {
        using ManualResetEventSlim mayLeave = new();
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.MultiSession, application => application.WhenInvoked = _ => Blocking(mayLeave));
        ITeeSession session = await bench.OpenAsync();
        ITeeSession other = await bench.OpenAsync();

        ThreadRunner<TeeResult> first = new(() => session.InvokeCommandAsync(SoftwareTeeBench.Command(1)));
        first.WaitUntilBlocked();
        ThreadRunner<TeeResult> second = new(() => other.InvokeCommandAsync(SoftwareTeeBench.Command(2)));
        second.WaitUntilBlocked();

        Assert.That(bench.Instances.Single().Journal, Does.Not.Contain("InvokeCommand 2"));
        mayLeave.Set();
        Assert.That(await first.Result, Is.EqualTo(TeeResult.Success));
        Assert.That(await second.Result, Is.EqualTo(TeeResult.Success));
    }

    [Test]
    public async Task OpenSession_SingleInstanceBusy_WaitsItsTurn()
    {
        using ManualResetEventSlim mayLeave = new();
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.MultiSession, application => application.WhenInvoked = _ => Blocking(mayLeave));
        ITeeSession session = await bench.OpenAsync();

        ThreadRunner<TeeResult> command = new(() => session.InvokeCommandAsync(SoftwareTeeBench.Command(1)));
        command.WaitUntilBlocked();
        ThreadRunner<TeeResult> opening = new(() => bench.Partition.OpenSessionAsync(bench.Opening()));
        opening.WaitUntilBlocked();

        Assert.That(bench.Instances.Single().Journal, Has.Exactly(1).EqualTo("OpenSession"));
        mayLeave.Set();
        Assert.That(await opening.Result, Is.EqualTo(TeeResult.Success));
        Assert.That(await command.Result, Is.EqualTo(TeeResult.Success));
    }

    [Test]
    public async Task InvokeCommand_OtherInstanceBusy_RunsAtTheSameTime()
    {
        using Barrier together = new(2);
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.PerSession, application => application.WhenInvoked = _ => Meeting(together));
        ITeeSession session = await bench.OpenAsync();
        ITeeSession other = await bench.OpenAsync();

        ThreadRunner<TeeResult> first = new(() => session.InvokeCommandAsync(SoftwareTeeBench.Command(0)));
        ThreadRunner<TeeResult> second = new(() => other.InvokeCommandAsync(SoftwareTeeBench.Command(0)));

        Assert.That(await first.Result, Is.EqualTo(TeeResult.Success));
        Assert.That(await second.Result, Is.EqualTo(TeeResult.Success));
    }

    [Test]
    public async Task InvokeCommand_ConcurrentSessionsOfOneInstance_RunAtTheSameTime()
    {
        using Barrier together = new(2);
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.Concurrent, application => application.WhenInvoked = _ => Meeting(together));
        ITeeSession session = await bench.OpenAsync();
        ITeeSession other = await bench.OpenAsync();

        ThreadRunner<TeeResult> first = new(() => session.InvokeCommandAsync(SoftwareTeeBench.Command(0)));
        ThreadRunner<TeeResult> second = new(() => other.InvokeCommandAsync(SoftwareTeeBench.Command(0)));

        Assert.That(await first.Result, Is.EqualTo(TeeResult.Success));
        Assert.That(await second.Result, Is.EqualTo(TeeResult.Success));
        Assert.That(bench.Instances, Has.Count.EqualTo(1));
    }

    [Test]
    public async Task InvokeCommand_OneConcurrentSession_WaitsItsTurn()
    {
        using ManualResetEventSlim mayLeave = new();
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.Concurrent, application => application.WhenInvoked = _ => Blocking(mayLeave));
        ITeeSession session = await bench.OpenAsync();

        ThreadRunner<TeeResult> first = new(() => session.InvokeCommandAsync(SoftwareTeeBench.Command(1)));
        first.WaitUntilBlocked();
        ThreadRunner<TeeResult> second = new(() => session.InvokeCommandAsync(SoftwareTeeBench.Command(2)));
        second.WaitUntilBlocked();

        Assert.That(bench.Instances.Single().Journal, Does.Not.Contain("InvokeCommand 2"));
        mayLeave.Set();
        Assert.That(await first.Result, Is.EqualTo(TeeResult.Success));
        Assert.That(await second.Result, Is.EqualTo(TeeResult.Success));
    }

    [Test]
    public async Task CloseSession_LastOfConcurrentInstance_DestroysIt()
    {
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.Concurrent);
        ITeeSession session = await bench.OpenAsync();
        ITeeSession other = await bench.OpenAsync();

        await session.CloseAsync();
        await other.CloseAsync();

        Assert.That(
            bench.Instances.Single().Journal,
            Is.EqualTo(["Create", "OpenSession", "OpenSession", "CloseSession", "CloseSession", "Destroy"]));
    }

    [Test]
    public async Task InvokeCommand_InlineSessionStaysBusy_BusyFromTee()
    {
        using ManualResetEventSlim mayLeave = new();
        await using SoftwareTeeBench bench = new(
            SoftwareTeeBench.PerSession with { Execution = TeeExecution.Inline }, application => application.WhenInvoked = _ => Blocking(mayLeave));
        ITeeSession session = await bench.OpenAsync();
        ThreadRunner<TeeResult> first = new(() => session.InvokeCommandAsync(SoftwareTeeBench.Command(1)));
        first.WaitUntilBlocked();

        TeeResult result = await session.InvokeCommandAsync(SoftwareTeeBench.Command(2));

        mayLeave.Set();
        Assert.That(result, Is.EqualTo(TeeResult.FromTee(TeeReturnCode.Busy)));
        Assert.That(await first.Result, Is.EqualTo(TeeResult.Success));
        Assert.That(bench.Instances.Single().Journal, Does.Not.Contain("InvokeCommand 2"));
    }

    [TestCase(TeeExecution.Worker)]
    [TestCase(TeeExecution.Inline)]
    public async Task InvokeCommand_ManyThreads_OneAtATime(TeeExecution execution)
    {
        int inside = 0;
        int collisions = 0;
        int total = 0;
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.MultiSession with { Execution = execution }, application => application.WhenInvoked = call =>
        {
            collisions += Interlocked.Increment(ref inside) - 1;
            total++;
            Interlocked.Decrement(ref inside);
            return new(TeeReturnCode.Success);
        });
        ITeeSession session = await bench.OpenAsync();
        ITeeSession other = await bench.OpenAsync();

        ThreadRunner<int>[] threads = [new(() => Hammer(session)), new(() => Hammer(session)), new(() => Hammer(other)), new(() => Hammer(other))];
        int[] successes = await Task.WhenAll(threads.Select(thread => thread.Result));

        Assert.That(collisions, Is.Zero);
        Assert.That(total, Is.EqualTo(successes.Sum()));
    }

    [Test]
    public async Task OpenAndClose_ManyThreads_InstancesNeverOverlap()
    {
        int alive = 0;
        int collisions = 0;
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.MultiSession, application =>
        {
            application.WhenCreated = () =>
            {
                collisions += Interlocked.Increment(ref alive) - 1;
                return TeeReturnCode.Success;
            };
            application.WhenDestroyed = () => Interlocked.Decrement(ref alive);
        });

        ThreadRunner<int>[] threads = [new(() => OpenAndCloseAsync(bench)), new(() => OpenAndCloseAsync(bench)), new(() => OpenAndCloseAsync(bench))];
        _ = await Task.WhenAll(threads.Select(thread => thread.Result));

        Assert.That(collisions, Is.Zero);
        Assert.That(alive, Is.Zero);
    }

    private static ValueTask<TeeReturnCode> Blocking(ManualResetEventSlim mayLeave)
    {
        mayLeave.Wait();
        return new(TeeReturnCode.Success);
    }

    private static ValueTask<TeeReturnCode> Meeting(Barrier barrier) =>
        new(barrier.SignalAndWait(TimeSpan.FromSeconds(30)) ? TeeReturnCode.Success : TeeReturnCode.Busy);

    private static async ValueTask<int> Hammer(ITeeSession session)
    {
        TeeRequest request = SoftwareTeeBench.Command(0);
        int successes = 0;
        for (int count = 0; count < 20_000; count++)
        {
            successes += (await session.InvokeCommandAsync(request)).IsSuccess ? 1 : 0;
        }

        return successes;
    }

    private static async ValueTask<int> OpenAndCloseAsync(SoftwareTeeBench bench)
    {
        for (int count = 0; count < 2_000; count++)
        {
            await (await bench.OpenAsync()).CloseAsync();
        }

        return 0;
    }
}
