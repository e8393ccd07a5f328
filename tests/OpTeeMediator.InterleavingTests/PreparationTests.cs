using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.InterleavingTests;

/// <summary>A call that is prepared twice, because a table changed meanwhile.</summary>
[NonParallelizable]
internal sealed class PreparationTests
{
    private const ulong Cookie = 0xffff_0000_0938_5a80;
    private const string BufferFound = "CallPreparation.Resolve: buffer found";
    private const string InstanceRead = "YieldingCalls.Start: driver instance read";

    [Test]
    public async Task Invoke_BufferBecomesAnotherCallsBetweenLookUpAndUse_OtherCallKeepsIt()
    {
        TaskCompletionSource<TeeResult> end = new();
        await using InterleavedVm vm = new();
        using InterleavingController controller = new();
        FakeDriver first = vm.AddCpu();
        FakeDriver second = vm.AddCpu();
        uint session = InterleavedVm.Open(first);
        _ = InterleavedVm.Share(first, Cookie);
        vm.Backend.OnInvoke = _ => new(end.Task);
        Stop found = controller.StopAt(BufferFound);

        Task<GuestMessage> invoking =
            controller.Run(() => first.Invoke(session, 0, GuestParameter.RegisteredInOut(0, 16, Cookie)));
        found.WaitUntilReached();
        _ = second.Unregister(Cookie);
        SmcRegisters other = second.Start(Invocation(
            session, GuestParameter.Temporary(OpTeeMessage.TypeTemporaryInOut, second.AllocatePage(),
                OpTeeMessage.PageSize, Cookie)));
        found.Release();
        GuestMessage refused = InterleavingController.Join(invoking);
        (int?, int) held = (vm.Guest.Status.Buffers, vm.Memory.Pinned);
        end.SetResult(TeeResult.Success);
        uint ended = second.Finish(other);

        Assert.That(other.X0, Is.EqualTo(OpTeeSmc.ReturnRpcForeignInterrupt));
        Assert.That(refused.ReturnCode, Is.EqualTo((uint)TeeReturnCode.BadParameters));
        Assert.That(held, Is.EqualTo((1, 1)), "The other call's buffer.");
        Assert.That(ended, Is.EqualTo(OpTeeSmc.ReturnOk));
    }

    [Test]
    public async Task Invoke_MessageIsGoneAtTheSecondAttempt_LeavesNothingOfTheFirst()
    {
        await using InterleavedVm vm = new();
        using InterleavingController controller = new();
        FakeDriver first = vm.AddCpu();
        FakeDriver second = vm.AddCpu();
        uint session = InterleavedVm.Open(first);
        _ = InterleavedVm.Share(first, Cookie);
        Stop found = controller.StopAt(BufferFound);

        Task<uint> invoking =
            controller.Run(() => first.TrySend(Invocation(session, GuestParameter.RegisteredInOut(0, 16, Cookie))));
        found.WaitUntilReached();
        SmcRegisters unregistering = second.Start(new GuestMessage(
            OpTeeMessage.CommandUnregisterSharedMemory, GuestParameter.RegisteredIn(0, 0, Cookie)));
        second.Write(first.MessagePage + 28, [uint.MaxValue]);
        found.Release();
        uint answer = InterleavingController.Join(invoking);
        uint closed = second.CloseSession(session).ReturnCode;

        Assert.That((answer, closed), Is.EqualTo((OpTeeSmc.ReturnBadAddress, 0u)));
        Assert.That(unregistering.X0, Is.EqualTo(OpTeeSmc.ReturnOk));
        Assert.That(vm.Guest.Status, Is.EqualTo(OpTeeGuestStatus.Nothing));
    }

    [Test]
    public async Task OpenSession_DriverStartsAgainMeanwhile_BelongsToTheNewDriver()
    {
        await using InterleavedVm vm = new();
        using InterleavingController controller = new();
        FakeDriver first = vm.AddCpu();
        FakeDriver second = vm.AddCpu();
        _ = InterleavedVm.Open(second);
        Stop read = controller.StopAt(InstanceRead);

        Task<GuestMessage> opening = controller.Run(() => first.OpenSession(InterleavedVm.Application));
        read.WaitUntilReached();
        ulong exchanged = second.Call(OpTeeSmc.ExchangeCapabilities, 0).X0;
        read.Release();
        GuestMessage opened = InterleavingController.Join(opening);
        uint invoked = second.Invoke(opened.Session, 0).ReturnCode;

        Assert.That((exchanged, opened.ReturnCode, invoked), Is.EqualTo(((ulong)OpTeeSmc.ReturnOk, 0u, 0u)));
        Assert.That((vm.Guest.Status.Sessions, vm.Backend.OpenSessions), Is.EqualTo((1, 1)));
    }

    [Test]
    public async Task OpenSession_VmIsDisposedOfMeanwhile_AnsweredAsAfterDisposal()
    {
        await using InterleavedVm vm = new();
        using InterleavingController controller = new();
        FakeDriver driver = vm.AddCpu();
        Stop read = controller.StopAt(InstanceRead);

        Task<uint> opening =
            controller.Run(() => driver.TrySend(FakeDriver.Opening(InterleavedVm.Application, default, 0)));
        read.WaitUntilReached();
        await vm.Guest.DisposeAsync();
        read.Release();

        Assert.That(InterleavingController.Join(opening), Is.EqualTo(OpTeeSmc.ReturnUnknownFunction));
        Assert.That(vm.Backend.OpenSessions, Is.Zero);
    }

    private static GuestMessage Invocation(uint session, params GuestParameter[] parameters) =>
        new(OpTeeMessage.CommandInvoke, parameters) { Session = session };
}
