using OpTeeMediator.Backends;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;

namespace OpTeeMediator.Tests.Calls;

/// <summary>A backend is told of a cancellation only while the operation runs; one that comes before is found when
/// the operation begins.</summary>
internal sealed class CancellationTests
{
    private const uint Id = 77;

    [Test]
    public async Task Cancel_InvocationOfAPausedVm_OperationBeginsCancelledAndBackendIsNotCalled()
    {
        bool? isRequested = null;
        await using GuestBench bench = new();
        bench.Backend.OnInvoke = request =>
        {
            isRequested = request.IsCancellationRequested;
            return ValueTask.FromResult(TeeResult.Success);
        };
        uint session = bench.Open();
        _ = await bench.Guest.PauseAsync();
        PendingCall held = bench.Start(GuestBench.Invocation(session, 0) with { CancelId = Id });

        GuestMessage cancelled = bench.Driver.Cancel(session, Id);
        int heard = bench.Backend.Cancellations;
        bench.Guest.Resume();
        _ = bench.Finish(held);

        Assert.That(cancelled.ReturnCode, Is.Zero);
        Assert.That((heard, bench.Backend.Cancellations, isRequested), Is.EqualTo((0, 0, (bool?)true)));
    }

    [Test]
    public async Task Cancel_OperationHasEndedAndItsResultWaits_BackendIsNotCalled()
    {
        TaskCompletionSource<TeeResult> end = new();
        await using GuestBench bench = new(backend: new ScriptedBackend { OnInvoke = _ => new(end.Task) });
        uint session = bench.Open();
        PendingCall call = bench.Start(GuestBench.Invocation(session, 0) with { CancelId = Id });
        end.SetResult(TeeResult.Success);

        _ = bench.Driver.Cancel(session, Id);

        Assert.That(bench.Backend.Cancellations, Is.Zero);
        Assert.That(bench.Finish(call).ReturnCode, Is.Zero);
    }

    [Test]
    public async Task Cancel_OperationIsBeginningOnTheVcpu_BackendIsCalledOnce()
    {
        TaskCompletionSource<TeeResult> end = new();
        await using GuestBench bench = new();
        FakeDriver other = new(bench.Guest, bench.Ram, new(GuestBench.FreePages, 1 << 20));
        uint session = bench.Open();
        bench.Backend.OnCancel = request => end.TrySetResult(
            TeeResult.FromTee(request.IsCancellationRequested ? TeeReturnCode.Cancel : TeeReturnCode.Generic));
        bench.Backend.OnInvoke = request =>
        {
            GuestMessage cancelled = other.Cancel(session, Id);
            Assert.That(cancelled.ReturnCode, Is.Zero);
            return new(end.Task);
        };

        GuestMessage answer = bench.Finish(bench.Start(GuestBench.Invocation(session, 0) with { CancelId = Id }));

        Assert.That((answer.ReturnCode, bench.Backend.Cancellations), Is.EqualTo(((uint)TeeReturnCode.Cancel, 1)));
    }

    [Test]
    public async Task Invoke_PreviousCallOfTheSlotWasCancelled_BeginsUncancelled()
    {
        TaskCompletionSource<TeeResult> end = new();
        bool? isRequested = null;
        await using GuestBench bench = new(backend: new ScriptedBackend { OnInvoke = _ => new(end.Task) });
        bench.Backend.OnCancel = _ => end.TrySetResult(TeeResult.Success);
        uint session = bench.Open();
        PendingCall call = bench.Start(GuestBench.Invocation(session, 0) with { CancelId = Id });
        _ = bench.Driver.Cancel(session, Id);
        _ = bench.Finish(call);
        bench.Backend.OnInvoke = request =>
        {
            isRequested = request.IsCancellationRequested;
            return ValueTask.FromResult(TeeResult.Success);
        };

        _ = bench.Driver.Invoke(session, 0);

        Assert.That(isRequested, Is.False);
    }
}
