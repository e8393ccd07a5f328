using OpTeeMediator.Backends;

namespace OpTeeMediator.Tests.SoftwareTee;

internal sealed class CancellationTests
{
    [Test]
    public async Task IsCancellationRequested_BeforeAndAfterCancel_SaysSo()
    {
        List<bool> seen = [];
        TeeRequest request = SoftwareTeeBench.Command(0);
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.PerSession);
        ITeeSession session = await bench.OpenAsync();
        bench.Instances.Single().WhenInvoked = call =>
        {
            _ = call.UnmaskCancellation();
            seen.Add(call.IsCancellationRequested);
            Cancel(bench, request);
            seen.Add(call.IsCancellationRequested);
            return new(TeeReturnCode.Cancel);
        };

        TeeResult result = await session.InvokeCommandAsync(request);

        Assert.That(seen, Is.EqualTo([false, true]));
        Assert.That(result, Is.EqualTo(new TeeResult(TeeReturnCode.Cancel, TeeOrigin.TrustedApplication)));
    }

    [Test]
    public async Task CancellationToken_Cancel_EndsAWaitingApplication()
    {
        TeeRequest request = SoftwareTeeBench.Command(0);
        await using SoftwareTeeBench bench =
            new(SoftwareTeeBench.PerSession, application => application.WhenInvoked = async call =>
        {
            _ = call.UnmaskCancellation();
            await Task.Delay(Timeout.Infinite, call.CancellationToken);
            return TeeReturnCode.Success;
        });
        ITeeSession session = await bench.OpenAsync();
        ThreadRunner<TeeResult> running = new(() => session.InvokeCommandAsync(request));
        running.WaitUntilBlocked();

        Cancel(bench, request);

        Assert.That(await running.Result,
            Is.EqualTo(new TeeResult(TeeReturnCode.Cancel, TeeOrigin.TrustedApplication)));
    }

    [Test]
    public async Task InvokeCommand_AfterACancelledOne_Runs()
    {
        TeeRequest request = SoftwareTeeBench.Command(0);
        await using SoftwareTeeBench bench =
            new(SoftwareTeeBench.PerSession, application => application.WhenInvoked = call =>
        {
            _ = call.UnmaskCancellation();
            call.CancellationToken.ThrowIfCancellationRequested();
            return new(TeeReturnCode.Success);
        });
        ITeeSession session = await bench.OpenAsync();
        request.RequestCancellation();

        TeeResult cancelled = await session.InvokeCommandAsync(request);
        request.ResetCancellation();
        TeeResult next = await session.InvokeCommandAsync(request);

        Assert.That(cancelled, Is.EqualTo(new TeeResult(TeeReturnCode.Cancel, TeeOrigin.TrustedApplication)));
        Assert.That(next, Is.EqualTo(TeeResult.Success));
        Assert.That(bench.Loggers.Entries, Is.Empty);
    }

    [Test]
    public async Task CancellationToken_AskedTwice_IsTheSame()
    {
        List<CancellationToken> seen = [];
        await using SoftwareTeeBench bench =
            new(SoftwareTeeBench.PerSession, application => application.WhenInvoked = call =>
        {
            seen.Add(call.CancellationToken);
            seen.Add(call.CancellationToken);
            return new(TeeReturnCode.Success);
        });

        _ = await (await bench.OpenAsync()).InvokeCommandAsync(SoftwareTeeBench.Command(0));

        Assert.That(seen[0], Is.EqualTo(seen[1]));
        Assert.That(seen[0].CanBeCanceled);
    }

    [Test]
    public async Task InvokeCommand_OperationCanceledWithoutARequest_TargetDead()
    {
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.PerSession,
            application => application.WhenInvoked = _ => throw new OperationCanceledException());

        TeeResult result = await (await bench.OpenAsync()).InvokeCommandAsync(SoftwareTeeBench.Command(0));

        Assert.That(result, Is.EqualTo(TeeResult.FromTee(TeeReturnCode.TargetDead)));
    }

    [Test]
    public async Task Cancel_OperationWaitsForItsTurn_CancelFromTeeWithoutCallingTheApplication()
    {
        using ManualResetEventSlim mayLeave = new();
        await using SoftwareTeeBench bench =
            new(SoftwareTeeBench.PerSession, application => application.WhenInvoked = _ =>
        {
            mayLeave.Wait();
            return new(TeeReturnCode.Success);
        });
        ITeeSession session = await bench.OpenAsync();
        TeeRequest waiting = SoftwareTeeBench.Command(2);
        ThreadRunner<TeeResult> first = new(() => session.InvokeCommandAsync(SoftwareTeeBench.Command(1)));
        first.WaitUntilBlocked();
        ThreadRunner<TeeResult> second = new(() => session.InvokeCommandAsync(waiting));
        second.WaitUntilBlocked();

        Cancel(bench, waiting);

        Assert.That(await second.Result, Is.EqualTo(TeeResult.FromTee(TeeReturnCode.Cancel)));
        mayLeave.Set();
        Assert.That(await first.Result, Is.EqualTo(TeeResult.Success));
        Assert.That(bench.Instances.Single().Journal, Does.Not.Contain("InvokeCommand 2"));
    }

    [Test]
    public async Task Cancel_OtherOperation_LeavesTheToken()
    {
        bool? isCancelled = null;
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.PerSession);
        ITeeSession session = await bench.OpenAsync();
        bench.Instances.Single().WhenInvoked = call =>
        {
            _ = call.UnmaskCancellation();
            CancellationToken token = call.CancellationToken;
            Cancel(bench, SoftwareTeeBench.Command(9));
            isCancelled = token.IsCancellationRequested;
            return new(TeeReturnCode.Success);
        };

        _ = await session.InvokeCommandAsync(SoftwareTeeBench.Command(0));

        Assert.That(isCancelled, Is.False);
    }

    [Test]
    public async Task IsCancellationRequested_Masked_IsFalseUntilUnmasked()
    {
        List<bool> seen = [];
        TeeRequest request = SoftwareTeeBench.Command(0);
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.PerSession);
        ITeeSession session = await bench.OpenAsync();
        bench.Instances.Single().WhenInvoked = call =>
        {
            CancellationToken token = call.CancellationToken;
            Cancel(bench, request);
            seen.AddRange([call.IsCancellationRequested, token.IsCancellationRequested]);
            seen.Add(call.UnmaskCancellation());
            seen.AddRange([call.IsCancellationRequested, token.WaitHandle.WaitOne()]);
            seen.Add(call.UnmaskCancellation());
            seen.Add(call.MaskCancellation());
            seen.Add(call.IsCancellationRequested);
            seen.Add(call.MaskCancellation());
            return new(TeeReturnCode.Success);
        };

        _ = await session.InvokeCommandAsync(request);

        Assert.That(seen, Is.EqualTo([false, false, true, true, true, false, false, false, true]));
    }

    [Test]
    public async Task InvokeCommand_AfterOneThatUnmasked_IsMasked()
    {
        List<bool> seen = [];
        await using SoftwareTeeBench bench =
            new(SoftwareTeeBench.PerSession, application => application.WhenInvoked = call =>
        {
            seen.Add(call.UnmaskCancellation());
            return new(TeeReturnCode.Success);
        });
        ITeeSession session = await bench.OpenAsync();

        _ = await session.InvokeCommandAsync(SoftwareTeeBench.Command(0));
        _ = await session.InvokeCommandAsync(SoftwareTeeBench.Command(0));

        Assert.That(seen, Is.EqualTo([true, true]));
    }

    [Test]
    public async Task IsCancellationRequested_VmEnds_IsTrueThoughMasked()
    {
        List<bool> seen = [];
        TeeRequest request = SoftwareTeeBench.Command(0);
        await using SoftwareTeeBench bench = new(SoftwareTeeBench.PerSession);
        ITeeSession session = await bench.OpenAsync();
        bench.Instances.Single().WhenInvoked = call =>
        {
            CancellationToken token = call.CancellationToken;
            _ = request.RequestTermination();
            Cancel(bench, request);
            seen.AddRange([call.IsCancellationRequested, token.WaitHandle.WaitOne()]);
            return new(call.Wait(Timeout.InfiniteTimeSpan));
        };

        TeeResult result = await session.InvokeCommandAsync(request);

        Assert.That(seen, Is.EqualTo([true, true]));
        Assert.That(result.Code, Is.EqualTo(TeeReturnCode.Cancel));
    }

    /// <summary>What the mediator does for a CANCEL.</summary>
    private static void Cancel(SoftwareTeeBench bench, TeeRequest request)
    {
        request.RequestCancellation();
        bench.Partition.Cancel(request);
    }
}
