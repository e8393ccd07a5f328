using System.Diagnostics;
using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee.Applications;

namespace OpTeeMediator.Tests.SoftwareTee;

internal sealed class SerialisationTests
{
    [Test]
    public async Task InvokeCommand_SessionBusy_WaitsItsTurn()
    {
        using ManualResetEventSlim mayLeave = new();
        await using SoftwareTeeBench bench =
            new(SoftwareTeeBench.PerSession, application => application.WhenInvoked = _ => Blocking(mayLeave));
        ITeeSession session = await bench.OpenAsync();

        ThreadRunner<TeeResult> first = new(() => session.InvokeCommandAsync(SoftwareTeeBench.Command(1)));
        first.WaitUntilBlocked();
        ThreadRunner<TeeResult> second = new(() => session.InvokeCommandAsync(SoftwareTeeBench.Command(2)));
        second.WaitUntilBlocked();

        Assert.That(bench.Instances.Single().Journal, Is.EqualTo(["Create", "OpenSession", "InvokeCommand 1"]));
        mayLeave.Set();
        Assert.That(await first.Result, Is.EqualTo(TeeResult.Success));
        Assert.That(await second.Result, Is.EqualTo(TeeResult.Success));
        Assert.That(bench.Instances.Single().Journal,
            Is.EqualTo(["Create", "OpenSession", "InvokeCommand 1", "InvokeCommand 2"]));
    }

    [Test]
    public async Task InvokeCommand_AsynchronousCommandRuns_WaitsItsTurn()
    {
        TaskCompletionSource<TeeReturnCode> command = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using SoftwareTeeBench bench =
            new(SoftwareTeeBench.PerSession, application => application.WhenInvoked = _ => new(command.Task));
        ITeeSession session = await bench.OpenAsync();
        ThreadRunner<TeeResult> first = new(() => session.InvokeCommandAsync(SoftwareTeeBench.Command(1)));
        first.WaitUntilBlocked();

        ThreadRunner<TeeResult> second = new(() => session.InvokeCommandAsync(SoftwareTeeBench.Command(2)));
        second.WaitUntilBlocked();

        Assert.That(bench.Instances.Single().Journal, Does.Not.Contain("InvokeCommand 2"));
        command.SetResult(TeeReturnCode.NoData);
        Assert.That((await first.Result).Code, Is.EqualTo(TeeReturnCode.NoData));
        Assert.That((await second.Result).Code, Is.EqualTo(TeeReturnCode.NoData));
    }

    [Test]
    public async Task InvokeCommand_OtherSessionOfTheSingleInstanceBusy_WaitsItsTurn()
    {
        using ManualResetEventSlim mayLeave = new();
        await using SoftwareTeeBench bench =
            new(SoftwareTeeBench.MultiSession, application => application.WhenInvoked = _ => Blocking(mayLeave));
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
        await using SoftwareTeeBench bench =
            new(SoftwareTeeBench.MultiSession, application => application.WhenInvoked = _ => Blocking(mayLeave));
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
        await using SoftwareTeeBench bench =
            new(SoftwareTeeBench.PerSession, application => application.WhenInvoked = _ => Meeting(together));
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
        await using SoftwareTeeBench bench =
            new(SoftwareTeeBench.Concurrent, application => application.WhenInvoked = _ => Meeting(together));
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
        await using SoftwareTeeBench bench =
            new(SoftwareTeeBench.Concurrent, application => application.WhenInvoked = _ => Blocking(mayLeave));
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
            SoftwareTeeBench.PerSession with { Execution = TeeExecution.Inline }, application =>
                application.WhenInvoked = _ => Blocking(mayLeave));
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
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.MultiSession with { Execution = execution },
            application => application.WhenInvoked = call =>
        {
            collisions += Interlocked.Increment(ref inside) - 1;
            total++;
            Interlocked.Decrement(ref inside);
            return new(TeeReturnCode.Success);
        });
        ITeeSession session = await bench.OpenAsync();
        ITeeSession other = await bench.OpenAsync();

        ThreadRunner<int>[] threads = [new(() => Hammer(session)), new(() => Hammer(session)), new(() => Hammer(other)),
            new(() => Hammer(other))];
        int[] successes = await Task.WhenAll(threads.Select(thread => thread.Result));

        Assert.That(collisions, Is.Zero);
        Assert.That(total, Is.EqualTo(successes.Sum()));
    }

    [Test]
    public async Task InvokeCommand_InlineSessionBrieflyBusy_SpinsUntilItsTurn()
    {
        using Barrier together = new(2);
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.PerSession with { Execution = TeeExecution.Inline },
            application => application.WhenInvoked = call =>
        {
            LingerIfFirst(call, together);
            return new(TeeReturnCode.Success);
        });
        ITeeSession session = await bench.OpenAsync();

        ThreadRunner<int> first =
            new(() => RepeatAsync(20, () => session.InvokeCommandAsync(SoftwareTeeBench.Command(1))));

        // The host may take the CPU from the one inside for longer than the other spins; it must have spun as long.
        ThreadRunner<int> second = new(() => RepeatAsync(20, async () =>
        {
            MeetBriefly(together);
            long start = Stopwatch.GetTimestamp();
            TeeResult result = await session.InvokeCommandAsync(SoftwareTeeBench.Command(2));
            bool hasSpun = result.Code == TeeReturnCode.Busy && Stopwatch.GetElapsedTime(start).TotalMilliseconds >= 1;
            return hasSpun ? TeeResult.Success : result;
        }));

        Assert.That(await first.Result, Is.GreaterThan(0));
        Assert.That(await second.Result, Is.EqualTo(20));
    }

    [Test]
    public async Task OpenSession_SingleSessionIsBeingOpened_BusyWhenItIsOpen()
    {
        using ManualResetEventSlim mayLeave = new();
        await using SoftwareTeeBench bench =
            new(SoftwareTeeBench.SingleSession, application => application.WhenCreated = () =>
        {
            mayLeave.Wait();
            return TeeReturnCode.Success;
        });
        ThreadRunner<TeeResult> first = new(() => bench.Partition.OpenSessionAsync(bench.Opening()));
        first.WaitUntilBlocked();
        ThreadRunner<TeeResult> second = new(() => bench.Partition.OpenSessionAsync(bench.Opening()));
        second.WaitUntilBlocked();

        mayLeave.Set();

        Assert.That(await first.Result, Is.EqualTo(TeeResult.Success));
        Assert.That(await second.Result, Is.EqualTo(TeeResult.FromTee(TeeReturnCode.Busy)));
    }

    [TestCase(false)]
    [TestCase(true)]
    public async Task OpenSession_PredecessorIsBeingDestroyed_WaitsItsTurn(bool concurrent)
    {
        using ManualResetEventSlim mayLeave = new();
        await using SoftwareTeeBench bench = new(
            SoftwareTeeBench.MultiSession with { Concurrent = concurrent }, application =>
                application.WhenDestroyed = mayLeave.Wait);
        ITeeSession session = await bench.OpenAsync();
        ThreadRunner<bool> closing = new(async () =>
        {
            await session.CloseAsync();
            return true;
        });
        closing.WaitUntilBlocked();
        ThreadRunner<TeeResult> opening = new(() => bench.Partition.OpenSessionAsync(bench.Opening()));
        opening.WaitUntilBlocked();

        Assert.That(bench.Instances, Has.Count.EqualTo(1));
        mayLeave.Set();
        Assert.That(await closing.Result);
        Assert.That(await opening.Result, Is.EqualTo(TeeResult.Success));
        Assert.That(bench.Instances, Has.Count.EqualTo(2));
    }

    private static ValueTask<TeeReturnCode> Blocking(ManualResetEventSlim mayLeave)
    {
        mayLeave.Wait();
        return new(TeeReturnCode.Success);
    }

    private static ValueTask<TeeReturnCode> Meeting(Barrier barrier) =>
        new(barrier.SignalAndWait(TimeSpan.FromSeconds(30)) ? TeeReturnCode.Success : TeeReturnCode.Busy);

    // With a limit, because a command that was refused does not come.
    private static void MeetBriefly(Barrier barrier) => barrier.SignalAndWait(TimeSpan.FromSeconds(1));

    /// <summary>Lets the other thread come, and stays for as long as a slow inline command.</summary>
    private static void LingerIfFirst(ApplicationCall call, Barrier together)
    {
        if (call.CommandId == 1)
        {
            MeetBriefly(together);
            Thread.SpinWait(5_000);
        }
    }

    private static ValueTask<int> Hammer(ITeeSession session)
    {
        TeeRequest request = SoftwareTeeBench.Command(0);
        return RepeatAsync(20_000, () => session.InvokeCommandAsync(request));
    }

    /// <summary>Counts how many of the operations succeed.</summary>
    private static async ValueTask<int> RepeatAsync(int count, Func<ValueTask<TeeResult>> operation)
    {
        int successes = 0;
        for (int index = 0; index < count; index++)
        {
            successes += (await operation()).IsSuccess ? 1 : 0;
        }

        return successes;
    }
}
