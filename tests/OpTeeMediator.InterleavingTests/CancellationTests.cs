using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;
using OpTeeMediator.Testing;

namespace OpTeeMediator.InterleavingTests;

/// <summary>A cancellation that meets a call between two of its steps.</summary>
[NonParallelizable]
internal sealed class CancellationTests
{
    private const uint Id = 77;

    [Test]
    public async Task Cancel_AnotherCallIsBeingPreparedInTheSlot_BackendIsNotCalledAndOperationBeginsCancelled()
    {
        bool? isRequested = null;
        await using InterleavedVm vm = new();
        using InterleavingController controller = new();
        FakeDriver first = vm.AddCpu();
        FakeDriver second = vm.AddCpu();
        uint session = InterleavedVm.Open(first);
        _ = first.Invoke(session, 0);
        vm.Backend.OnInvoke = request =>
        {
            isRequested = request.IsCancellationRequested;
            return ValueTask.FromResult(TeeResult.Success);
        };
        Stop published = controller.StopAt("CallPreparation.Prepare: session published");

        Task<uint> invoking = controller.Run(() => first.TrySend(Invocation(session)));
        published.WaitUntilReached();
        _ = second.Cancel(session, Id);
        int heard = vm.Backend.Cancellations;
        published.Release();
        _ = InterleavingController.Join(invoking);

        Assert.That((heard, vm.Backend.Cancellations, isRequested), Is.EqualTo((0, 0, (bool?)true)));
    }

    [TestCase(TeeExecution.Inline)]
    [TestCase(TeeExecution.Worker)]
    public async Task Cancel_OperationIsAboutToBegin_BeginsCancelledAndBackendIsNotCalled(TeeExecution execution)
    {
        bool? isRequested = null;
        await using InterleavedVm vm = new(backend: new ScriptedBackend { Execution = execution });
        using InterleavingController controller = new();
        FakeDriver first = vm.AddCpu();
        FakeDriver second = vm.AddCpu();
        uint session = InterleavedVm.Open(first);
        vm.Backend.OnInvoke = request =>
        {
            isRequested = request.IsCancellationRequested;
            return ValueTask.FromResult(TeeResult.Success);
        };
        Stop prepared = controller.StopAt("CallRunner.Begin: about to begin");

        Task<uint> invoking = controller.Run(() => first.TrySend(Invocation(session)));
        prepared.WaitUntilReached();
        _ = second.Cancel(session, Id);
        prepared.Release();
        _ = InterleavingController.Join(invoking);

        Assert.That((vm.Backend.Cancellations, isRequested), Is.EqualTo((0, (bool?)true)));
    }

    private static GuestMessage Invocation(uint session) =>
        new(OpTeeMessage.CommandInvoke) { Session = session, CancelId = Id };
}
