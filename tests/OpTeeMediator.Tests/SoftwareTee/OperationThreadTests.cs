using OpTeeMediator.Backends;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.Tests.Guests;

namespace OpTeeMediator.Tests.SoftwareTee;

/// <summary>On which thread an asynchronous application goes on after an await.</summary>
internal sealed class OperationThreadTests
{
    [Test]
    public async Task EntryPoints_AfterAwaits_StayOnTheThreadOfTheirOperation()
    {
        List<bool> stays = [];
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.PerSession);
        AwaitingApplication application = new(async () =>
        {
            int thread = Environment.CurrentManagedThreadId;
            await Task.Yield();
            stays.Add(Environment.CurrentManagedThreadId == thread && !Thread.CurrentThread.IsThreadPoolThread);
            await Task.Delay(1);
            stays.Add(Environment.CurrentManagedThreadId == thread);
            await Task.Run(() => { });
            stays.Add(Environment.CurrentManagedThreadId == thread);
            await Task.Delay(1).ConfigureAwait(false);
            stays.Add(Thread.CurrentThread.IsThreadPoolThread);
        });
        SoftwareTeeBackend tee = new(new SoftwareTeeOptions().Add(SoftwareTeeBench.PerSession, () => application));
        await using ITeePartition partition = tee.CreatePartition(SoftwareTeeBench.VirtualMachine("vm", bench.Loggers));
        TeeRequest request = bench.Opening();

        TeeResult[] results =
        [
            await OnThread(() => partition.OpenSessionAsync(request)),
            await OnThread(() => request.Session!.InvokeCommandAsync(SoftwareTeeBench.Command(0))),
            await OnThread(async () =>
            {
                await request.Session!.CloseAsync();
                return TeeResult.Success;
            }),
        ];

        Assert.That(results, Has.All.EqualTo(TeeResult.Success));
        Assert.That(stays, Has.Count.EqualTo(12).And.All.True);
    }

    [Test]
    public async Task Guest_ManyUnansweredCallsAfterAnAwait_BlockTheirOwnThreads()
    {
        int onPool = 0;
        await using GuestCallBench bench = new(SoftwareTeeBench.PerSession, async call =>
        {
            await Task.Yield();
            _ = Interlocked.Add(ref onPool, Thread.CurrentThread.IsThreadPoolThread ? 1 : 0);
            return call.Guest.GetTime(out _);
        });

        List<PendingCall> calls = [];
        for (int index = 0; index < 4; index++)
        {
            calls.Add(bench.StartUntilCommand(bench.Open(SoftwareTeeBench.PerSession.Uuid)));
        }

        Assert.That(onPool, Is.Zero);
        Assert.That(calls.Select(bench.Finish), Has.All.EqualTo(TeeReturnCode.Success));
    }

    [TestCase(false)]
    [TestCase(true)]
    public async Task Wait_OnTheThreadPool_IsAPanicAtOnce(bool asksGuest)
    {
        await using GuestCallBench bench = new(SoftwareTeeBench.PerSession, async call =>
        {
            await Task.Delay(1).ConfigureAwait(false);
            return asksGuest ? call.Guest.GetTime(out _) : call.Wait(Timeout.InfiniteTimeSpan);
        });

        Assert.That(bench.Invoke(), Is.EqualTo(TeeReturnCode.TargetDead));
        Assert.That(bench.Panics.Single().Message, Does.Contain("ConfigureAwait(false)"));
    }

    [Test]
    public async Task InvokeCommand_SomethingNotAwaitedGoesOnAfterTheEnd_RunsOnTheThreadPool()
    {
        TaskCompletionSource mayGoOn = new(TaskCreationOptions.RunContinuationsAsynchronously);
        TaskCompletionSource<bool> isOnPool = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using GuestCallBench bench = new(SoftwareTeeBench.PerSession, call =>
        {
            _ = GoOnAsync();
            return new(TeeReturnCode.Success);
        });

        TeeReturnCode code = bench.Invoke();
        mayGoOn.SetResult();

        Assert.That((code, await isOnPool.Task), Is.EqualTo((TeeReturnCode.Success, true)));

        async Task GoOnAsync()
        {
            await mayGoOn.Task;
            isOnPool.SetResult(Thread.CurrentThread.IsThreadPoolThread);
        }
    }

    [Test]
    public async Task InvokeCommand_MethodWithoutATaskThrows_IsAPanic()
    {
        await using GuestCallBench bench = new(SoftwareTeeBench.PerSession, async call =>
        {
            SynchronizationContext.Current!.Post(state => throw new FormatException(), null);
            await Task.Yield();
            return TeeReturnCode.Success;
        });

        Assert.That(bench.Invoke(), Is.EqualTo(TeeReturnCode.TargetDead));
        Assert.That(bench.Panics.Single(), Is.InstanceOf<FormatException>());
    }

    private static Task<TeeResult> OnThread(Func<ValueTask<TeeResult>> operation) =>
        new ThreadRunner<TeeResult>(operation).Result;

    private sealed class AwaitingApplication(Func<Task> work) : TrustedApplication
    {
        protected internal override async ValueTask<TeeReturnCode> OpenSessionAsync(ApplicationCall call)
        {
            await work();
            return TeeReturnCode.Success;
        }

        protected internal override async ValueTask<TeeReturnCode> InvokeCommandAsync(ApplicationCall call)
        {
            await work();
            return TeeReturnCode.Success;
        }

        protected internal override async ValueTask CloseSessionAsync(ApplicationCall call) => await work();
    }
}
