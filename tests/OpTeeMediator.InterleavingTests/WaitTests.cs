using OpTeeMediator.Backends;
using OpTeeMediator.Diagnostics;
using OpTeeMediator.Guests;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;

namespace OpTeeMediator.InterleavingTests;

/// <summary>A vCPU that waits sleeps, whatever the quantum: how often it looks is counted.</summary>
[NonParallelizable]
internal sealed class WaitTests
{
    private const ulong Cookie = 0xffff_0000_0938_5a80;
    private const int Waits = 20;

    // One, or one more where the sleep ended a little early.
    private const int LooksPerWait = 3;

    [TearDown]
    public void TearDown() => InterleavingPoint.Reached = null;

    [TestCase(0.5)]
    [TestCase(1.9)]
    public async Task Resume_QuantumWithAFractionOfAMillisecond_WaitsAndDoesNotSpin(double milliseconds)
    {
        TaskCompletionSource<TeeResult> end = new();
        await using InterleavedVm vm = new(new OpTeeGuestOptions { Quantum = TimeSpan.FromMilliseconds(milliseconds) });
        FakeDriver driver = vm.AddCpu();
        uint session = InterleavedVm.Open(driver);
        vm.Backend.OnInvoke = _ => new(end.Task);
        SmcRegisters registers = driver.Start(new GuestMessage(OpTeeMessage.CommandInvoke) { Session = session });

        int looks = CountLooks("CallOperation.WaitWhileWorking: about to wait", driver, ref registers);
        end.SetResult(TeeResult.Success);
        _ = driver.Finish(registers);

        Assert.That(looks, Is.InRange(Waits, Waits * LooksPerWait));
    }

    [TestCase(0.5)]
    [TestCase(1.9)]
    public async Task Unregister_QuantumWithAFractionOfAMillisecond_WaitsForUsersAndDoesNotSpin(double milliseconds)
    {
        TaskCompletionSource<TeeResult> end = new();
        await using InterleavedVm vm = new(new OpTeeGuestOptions { Quantum = TimeSpan.FromMilliseconds(milliseconds) });
        FakeDriver user = vm.AddCpu();
        FakeDriver driver = vm.AddCpu();
        uint session = InterleavedVm.Open(driver);
        _ = InterleavedVm.Share(driver, Cookie);
        vm.Backend.OnInvoke = _ => new(end.Task);
        SmcRegisters held = user.Start(new GuestMessage(OpTeeMessage.CommandInvoke,
            GuestParameter.RegisteredIn(0, 8, Cookie)) { Session = session });
        SmcRegisters registers = driver.Start(
            new GuestMessage(OpTeeMessage.CommandUnregisterSharedMemory, GuestParameter.RegisteredIn(0, 0, Cookie)));

        int looks = CountLooks("CallSlots.WaitUntil: about to wait", driver, ref registers);
        end.SetResult(TeeResult.Success);
        _ = user.Finish(held);
        _ = driver.Finish(registers);

        Assert.That(looks, Is.InRange(Waits, Waits * LooksPerWait));
    }

    private static int CountLooks(string point, FakeDriver driver, ref SmcRegisters registers)
    {
        int looks = 0;
        InterleavingPoint.Reached = reached => looks += reached == point ? 1 : 0;
        for (int wait = 0; wait < Waits; wait++)
        {
            Assert.That(registers.X0, Is.EqualTo(OpTeeSmc.ReturnRpcForeignInterrupt));
            registers = driver.Step(registers);
        }

        return looks;
    }
}
