using OpTeeMediator.Backends;

namespace OpTeeMediator.Tests.Linux;

/// <summary>The host's TEE as a backend, over a driver that the tests provide. Cancellation, which
/// blocks in the driver.</summary>
[TestFixture]
internal sealed class LinuxTeeCancellationTests : LinuxTeeFixture
{
    [Test]
    public async Task Cancel_RunningCommand_IsToldToTheHostWithItsSessionAndId()
    {
        using ManualResetEventSlim inside = new();
        using ManualResetEventSlim cancelled = new();
        Device.OnInvoke = (ref argument) =>
        {
            inside.Set();
            Assert.That(cancelled.Wait(TimeSpan.FromSeconds(10)), Is.True);
            argument.ReturnCode = (uint)TeeReturnCode.Cancel;
        };
        Device.OnCancel = (_, _) => cancelled.Set();
        TeeRequest request = await RequestAsync(1);
        Task<TeeResult> running = Task.Run(() => request.Session!.InvokeCommandAsync(request).AsTask());
        Assert.That(inside.Wait(TimeSpan.FromSeconds(10)), Is.True);

        request.RequestCancellation();
        Partition.Cancel(request);

        TeeResult result = await running;
        using (Assert.EnterMultipleScope())
        {
            Assert.That(result.Code, Is.EqualTo(TeeReturnCode.Cancel));
            Assert.That(Device.Cancellations.First(), Is.EqualTo((102u, Device.Invocations.Last().CancelId)));
        }
    }

    [Test]
    public async Task Cancel_HostDoesNotHearIt_IsRepeated()
    {
        using CountdownEvent told = new(3);
        using ManualResetEventSlim inside = new();
        Device.OnInvoke = (ref _) =>
        {
            inside.Set();
            Assert.That(told.Wait(TimeSpan.FromSeconds(10)), Is.True);
        };
        Device.OnCancel = (_, _) => _ = told.IsSet || told.Signal();
        TeeRequest request = await RequestAsync(1);
        Task<TeeResult> running = Task.Run(() => request.Session!.InvokeCommandAsync(request).AsTask());
        Assert.That(inside.Wait(TimeSpan.FromSeconds(10)), Is.True);

        Partition.Cancel(request);

        Assert.That((await running).IsSuccess, Is.True);
    }

    [Test]
    public async Task Cancel_HostTakesItsTime_ReturnsAtOnceAndTheCommandWaitsForIt()
    {
        using ManualResetEventSlim inside = new();
        using ManualResetEventSlim sending = new();
        using ManualResetEventSlim goOn = new();
        Device.OnInvoke = (ref _) =>
        {
            inside.Set();
            Assert.That(sending.Wait(TimeSpan.FromSeconds(10)), Is.True);
        };
        Device.OnCancel = (_, _) =>
        {
            sending.Set();
            Assert.That(goOn.Wait(TimeSpan.FromSeconds(10)), Is.True);
        };
        TeeRequest request = await RequestAsync(1);
        Task<TeeResult> running = Task.Run(() => request.Session!.InvokeCommandAsync(request).AsTask());
        Assert.That(inside.Wait(TimeSpan.FromSeconds(10)), Is.True);

        // Would never return if it waited for the host.
        Partition.Cancel(request);
        Assert.That(sending.Wait(TimeSpan.FromSeconds(10)), Is.True);
        bool isOver = running.Wait(TimeSpan.FromMilliseconds(50));
        goOn.Set();
        _ = await running;

        Assert.That(isOver, Is.False);
    }

    [Test]
    public async Task Cancel_CommandIsOver_DoesNothing()
    {
        TeeRequest request = await RequestAsync(1);
        _ = await request.Session!.InvokeCommandAsync(request);

        Partition.Cancel(request);
        await Task.Delay(30);

        Assert.That(Device.Cancellations, Is.Empty);
    }

    [Test]
    public async Task InvokeCommand_CancelledBeforeItBegins_IsNotBegun()
    {
        TeeRequest request = await RequestAsync(1);
        request.RequestCancellation();

        TeeResult result = await request.Session!.InvokeCommandAsync(request);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(result, Is.EqualTo(new TeeResult(TeeReturnCode.Cancel, TeeOrigin.Communication)));
            Assert.That(Device.Invocations, Is.Empty);
        }
    }
}
