using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;

namespace OpTeeMediator.InterleavingTests;

/// <summary>A pause that meets a vCPU between two steps.</summary>
public sealed class PauseTests
{
    [Test]
    public async Task PauseAsync_VcpuHasSeenTheVmRunning_WaitsForItsOperation()
    {
        await using InterleavedVm vm = new();
        FakeDriver cpu = vm.AddCpu();
        uint session = InterleavedVm.Open(cpu);
        int steps = 0;
        vm.Backend.OnInvoke = request =>
        {
            _ = Interlocked.Increment(ref steps);
            return new(TeeResult.Success);
        };
        _ = cpu.Invoke(session, 0);
        Task<bool> pause;
        bool isPausedEarly;
        using (InterleavingController controller = new())
        {
            Stop stop = controller.StopAt("CallRunner.Begin: about to begin");
            _ = controller.Run(() => cpu.Invoke(session, 0).ReturnCode);
            stop.WaitUntilReached();
            pause = vm.Guest.PauseAsync();
            isPausedEarly = pause.IsCompleted;
            stop.Release();
        }

        bool isPaused = await pause;
        int stepsWhilePaused = Volatile.Read(ref steps);
        vm.Guest.Resume();

        Assert.That((isPausedEarly, isPaused, stepsWhilePaused), Is.EqualTo((false, true, 2)));
    }

    [Test]
    public async Task PauseAsync_VcpuBringsAnAnswerAtThatMoment_AnswerIsKept()
    {
        await using InterleavedVm vm = new();
        FakeDriver cpu = vm.AddCpu();
        uint session = InterleavedVm.Open(cpu);
        int steps = 0;
        vm.Backend.OnInvoke = async request =>
        {
            TeeReturnCode code = await request.Guest!.CallAsync(OpTeeRpc.Suspend);
            _ = Interlocked.Increment(ref steps);
            return TeeResult.FromTee(code);
        };
        cpu.OnRpc = message => message with { ReturnCode = 0 };
        SmcRegisters asked = cpu.Start(new GuestMessage(OpTeeMessage.CommandInvoke) { Session = session });
        Assert.That((uint)asked.X0, Is.EqualTo(OpTeeSmc.ReturnRpcCommand));
        Task<bool> pause;
        bool isPausedEarly;
        SmcRegisters held;
        using (InterleavingController controller = new())
        {
            Stop stop = controller.StopAt("CallSlot.EndRpc: backend may go on");
            Task<SmcRegisters> answering = controller.Run(() => cpu.Step(asked));
            stop.WaitUntilReached();
            pause = vm.Guest.PauseAsync();
            isPausedEarly = pause.IsCompleted;
            stop.Release();
            held = InterleavingController.Join(answering);
        }

        bool isPaused = await pause;
        int stepsWhilePaused = Volatile.Read(ref steps);
        vm.Guest.Resume();

        Assert.That((isPausedEarly, isPaused, stepsWhilePaused), Is.EqualTo((false, true, 0)));
        Assert.That((uint)held.X0, Is.EqualTo(OpTeeSmc.ReturnRpcForeignInterrupt));
        Assert.That((cpu.Finish(held), steps), Is.EqualTo((OpTeeSmc.ReturnOk, 1)));
    }
}
