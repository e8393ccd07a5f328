using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;

namespace OpTeeMediator.Tests.Rpc;

/// <summary>Operations on a worker's thread that block for what the asynchronous calls to the guest return.</summary>
internal sealed class BlockingWorkerTests
{
    private static readonly TestCaseData<Func<GuestServices, Task>>[] Calls =
    [
        new(guest => guest.GetTimeAsync().AsTask()) { TestName = "GetTime" },
        new(guest => guest.SuspendAsync(TimeSpan.FromMilliseconds(1)).AsTask()) { TestName = "Suspend" },
        new(guest => guest.SendNotificationAsync(70).AsTask()) { TestName = "SendNotification" },
        new(guest => guest.WaitForNotificationAsync(70).AsTask()) { TestName = "WaitForNotification" },
        new(guest => guest.CallAsync(OpTeeRpc.Suspend).AsTask()) { TestName = "Call" },
        new(guest => guest.AllocateAsync(GuestMemoryKind.Kernel, 100).AsTask()) { TestName = "Allocate" },
        new(guest => guest.FreeAsync(guest.Allocate(GuestMemoryKind.Kernel, 100)!)
            .AsTask()) { TestName = "Free" },
    ];

    [TestCaseSource(nameof(Calls))]
    [CancelAfter(60_000)]
    public async Task Invoke_WorkerBlocksForAnAsynchronousCall_Ends(Func<GuestServices, Task> call)
    {
        await using GuestBench bench = Create();
        bool hasEnded = false;
        bench.Backend.OnInvoke = request =>
        {
            call(request.Guest!).GetAwaiter().GetResult();
            hasEnded = true;
            return new(TeeResult.Success);
        };

        GuestMessage answer = bench.Driver.Invoke(bench.Open(), 0);

        Assert.That((answer.ReturnCode, hasEnded), Is.EqualTo((0u, true)));
    }

    [Test]
    public async Task CallAsync_AfterAnAwaitThatLeftTheWorker_IsAnswered()
    {
        await using GuestBench bench = Create();
        bench.Backend.OnInvoke = async request =>
        {
            await Task.Yield();
            return TeeResult.FromTee(!(await request.Guest!.GetTimeAsync()).IsSuccess ? TeeReturnCode.Generic
                : TeeReturnCode.Success);
        };

        Assert.That(bench.Driver.Invoke(bench.Open(), 0).ReturnCode, Is.Zero);
    }

    [TestCase(true)]
    [TestCase(false)]
    public async Task Call_AfterAnAwaitThatLeftTheWorker_Throws(bool isWait)
    {
        await using GuestBench bench = Create();
        Exception? thrown = null;
        bench.Backend.OnInvoke = async request =>
        {
            await Task.Yield();
            try
            {
                if (isWait)
                {
                    request.Guest!.BeginWait();
                }
                else
                {
                    _ = request.Guest!.Call(OpTeeRpc.Suspend);
                }
            }
            catch (InvalidOperationException exception)
            {
                thrown = exception;
            }

            return TeeResult.Success;
        };

        Assert.That(bench.Driver.Invoke(bench.Open(), 0).ReturnCode, Is.Zero);
        Assert.That(thrown, Is.Not.Null, "It would block a thread of the pool.");
    }

    private static GuestBench Create()
    {
        GuestBench bench = new(backend: GuestBench.OnWorkers());
        bench.Driver.OnRpc = new RpcServices(bench.Driver).Serve;
        return bench;
    }
}
