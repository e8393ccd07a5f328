using System.Runtime.InteropServices;
using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Linux.Memory;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.SoftwareTee;
using OpTeeMediator.SoftwareTee.Applications;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;

namespace OpTeeMediator.Tests.SoftwareTee;

/// <summary>Calls to the guest allocate nothing: neither on the application's thread nor on the vCPU's.</summary>
internal sealed class GuestCallAllocationTests
{
    private const int Rounds = 200;

    // What happens once, whenever it does: compilation, and the events' locks when a thread first blocks on one.
    private const int Batches = 4;

    [Test]
    public async Task GetTime_SteadyState_AllocatesNothing() =>
        await AssertNoAllocation(call => call.Guest.GetTime(out _));

    [Test]
    public async Task SuspendAndNotify_SteadyState_AllocatesNothing() => await AssertNoAllocation(
        call => call.Guest.Suspend(TimeSpan.Zero) | call.Guest.SendNotification(70)
            | call.Guest.WaitForNotification(70));

    [Test]
    public async Task Wait_SteadyState_AllocatesNothing() =>
        await AssertNoAllocation(call => call.Wait(TimeSpan.FromTicks(1)));

    [Test]
    public async Task Call_SteadyState_AllocatesNothing() => await AssertNoAllocation(
        call => call.Guest.Call(OpTeeRpc.Plugin, [TeeParameter.Value(TeeParameterKind.ValueInOut, 1, 2),
            TeeParameter.Value(TeeParameterKind.ValueInput, 1, 2)]));

    private static async Task AssertNoAllocation(Func<ApplicationCall, TeeReturnCode> ask)
    {
        long[] ofApplication = new long[Batches];
        long[] ofVcpu = new long[Batches];
        int batch = 0;
        TeeReturnCode code = default;
        using MemfdGuestMemory ram = MemfdGuestMemory.Create(new GuestRange(GuestBench.RamStart, 1 << 20));
        SoftwareTeeOptions none = new();
        SoftwareTeeOptions options = none.Add(SoftwareTeeBench.PerSession, () => new ScriptedApplication
        {
            WhenInvoked = call =>
            {
                for (int index = 0; index < Batches; index++)
                {
                    Volatile.Write(ref batch, index);
                    long before = GC.GetAllocatedBytesForCurrentThread();
                    code |= AskRounds(call, ask);
                    ofApplication[index] = GC.GetAllocatedBytesForCurrentThread() - before;
                }

                return new(code);
            },
        });
        SoftwareTeeBackend tee = new(options);
        await using OpTeeGuest guest = new(ram, tee);
        FakeDriver driver = new(guest, ram, new GuestRange(GuestBench.RamStart, 1 << 20));
        uint session = driver.OpenSession(SoftwareTeeBench.PerSession.Uuid).Session;
        driver.WriteMessage(driver.MessagePage, GuestBench.Invocation(session, 0));
        SmcRegisters registers = default;
        registers.X0 = OpTeeSmc.CallWithRpcArgument;
        registers.X2 = driver.MessagePage;

        do
        {
            int current = Volatile.Read(ref batch);
            long before = GC.GetAllocatedBytesForCurrentThread();
            _ = guest.Handle(ref registers);
            ofVcpu[current] += GC.GetAllocatedBytesForCurrentThread() - before;
            if (registers.X0 == OpTeeSmc.ReturnRpcCommand)
            {
                Succeed(ram, driver.MessagePage);
            }
        }
        while (ResumeUnlessDone(ref registers));

        Assert.That(code, Is.EqualTo(TeeReturnCode.Success));
        Assert.That((ofApplication.Min(), ofVcpu.Min()), Is.EqualTo((0L, 0L)),
            "The application's thread, the vCPU's thread.");
    }

    private static TeeReturnCode AskRounds(ApplicationCall call, Func<ApplicationCall, TeeReturnCode> ask)
    {
        TeeReturnCode code = default;
        for (int round = 0; round < Rounds; round++)
        {
            code |= ask(call);
        }

        return code;
    }

    // The return code of the RPC message behind the call's own.
    private static void Succeed(MemfdGuestMemory ram, ulong page)
    {
        const ulong ReturnCodeOffset = 5 * sizeof(uint);
        uint success = 0;
        _ = ram.TryWrite(page + OpTeeMessage.HeaderSize + ReturnCodeOffset,
            MemoryMarshal.AsBytes(new ReadOnlySpan<uint>(ref success)));
    }

    private static bool ResumeUnlessDone(ref SmcRegisters registers)
    {
        bool isDone = registers.X0 == OpTeeSmc.ReturnOk;
        registers.X0 = OpTeeSmc.ReturnFromRpc;
        return !isDone;
    }
}
