using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Tests.Guests;
using OpTeeMediator.Tests.Vmm;

namespace OpTeeMediator.Tests.HostileGuest;

/// <summary>The attack: a guest does something without end. What it does decides neither how many threads the host has,
/// nor how many entries its log gets at the level that is on, nor how many bytes stay.</summary>
/// <remarks>Drivers that start again: <see cref="Guests.DriverRestartTests"/>. Panics:
/// <see cref="Companion.ReplacementTests"/>, <see cref="SoftwareTee.PanicTests"/>. Output of trusted applications:
/// <see cref="Companion.TeeConsoleTests"/>. Bytes of single refusals: <see cref="Guests.AllocationTests"/>.</remarks>
[NonParallelizable]
internal sealed class FloodTests
{
    private const int Calls = 2_000;

    // Registers that make no sense, for the calls that a guest may make.
    private static readonly uint[] Functions =
    [
        OpTeeSmc.CallWithArgument, OpTeeSmc.CallWithRpcArgument, OpTeeSmc.CallWithRegisteredArgument,
        OpTeeSmc.ReturnFromRpc, OpTeeSmc.GetShmConfig, OpTeeSmc.GetAsyncNotificationValue, OpTeeSmc.VmCreated,
        0x3200_00ff, 0xb200_00ff,
    ];

    [Test]
    public async Task Calls_ThatMakeNoSense_CostNoThreadAndNoLogEntryAboveDebug([Values] HandlerKind kind)
    {
        await using OpTeeBench bench = OpTeeBench.Create(kind);
        _ = bench.Finish(bench.NewCall());
        int entries = bench.Log.Messages.Count();
        int threads = CountThreads();

        for (int call = 0; call < Calls; call++)
        {
            SmcRegisters registers = default;
            registers.X0 = Functions[call % Functions.Length];
            registers.X1 = (ulong)call;
            registers.X2 = 0xffff_f008;
            registers.X3 = (ulong)call << 9;
            _ = bench.Make(ref registers);
        }

        Assert.That(bench.Log.Messages.Count() - entries, Is.LessThanOrEqualTo(Calls), "At most one entry each.");
        Assert.That(bench.Log.Levels.Skip(entries), Is.All.LessThanOrEqualTo(LogLevel.Debug));
        Assert.That(CountThreads(), Is.LessThan(threads + 8), "The runtime's pool changes too.");
        Assert.That(bench.Finish(bench.NewCall()), Is.EqualTo(OpTeeSmc.ReturnOk));
    }

    [Test]
    public async Task ExchangeCapabilities_WithoutEnd_CostsNoThreadEachAndNoLogEntryAboveDebug(
        [Values] HandlerKind kind)
    {
        await using OpTeeBench bench = OpTeeBench.Create(kind);
        _ = bench.Finish(bench.NewCall());
        int entries = bench.Log.Messages.Count();
        int threads = CountThreads();

        for (int call = 0; call < Calls; call++)
        {
            SmcRegisters registers = default;
            registers.X0 = OpTeeSmc.ExchangeCapabilities;
            registers.X1 = (ulong)(call & 3);
            _ = bench.Make(ref registers);
        }

        Assert.That(bench.Log.Levels.Skip(entries), Is.All.LessThanOrEqualTo(LogLevel.Debug));
        Assert.That(CountThreads(), Is.LessThan(threads + 8));
        Assert.That(() => bench.Finish(bench.NewCall()), Is.EqualTo(OpTeeSmc.ReturnOk).After(30_000, 10));
    }

    [Test]
    public async Task Cancel_WithoutEnd_BackendIsToldOncePerCall()
    {
        await using GuestBench bench = new(new OpTeeGuestOptions { Name = "cancel" });
        TaskCompletionSource<TeeResult> end = new(TaskCreationOptions.RunContinuationsAsynchronously);
        bench.Backend.OnInvoke = _ => new ValueTask<TeeResult>(end.Task);
        uint session = bench.Open();
        PendingCall call = bench.StartInvoke(session);
        int entries = bench.Loggers.Messages.Count();
        _ = bench.Driver.Cancel(session, 0);
        long before = GC.GetAllocatedBytesForCurrentThread();

        for (int count = 0; count < Calls; count++)
        {
            Assert.That(bench.Driver.Call(OpTeeSmc.CallWithRpcArgument, 0, bench.Driver.MessagePage).X0,
                Is.EqualTo(OpTeeSmc.ReturnOk));
        }

        long bytes = GC.GetAllocatedBytesForCurrentThread() - before;
        end.SetResult(TeeResult.Success);
        Assert.That(bench.Finish(call).ReturnCode, Is.Zero);
        Assert.That((bench.Backend.Cancellations, ThreadNames.Count("optee cancel/")), Is.EqualTo((1, 0)));
        Assert.That(bench.Loggers.Messages.Count(), Is.EqualTo(entries));
        Assert.That(bytes / Calls, Is.LessThan(2_000), "The test's own; the mediator keeps nothing.");
    }

    [Test]
    public async Task Sessions_OpenedAndClosedWithoutEnd_LeaveNothing()
    {
        await using GuestBench bench = new();
        uint session = bench.Open();
        _ = bench.Driver.CloseSession(session);
        long before = GC.GetTotalMemory(forceFullCollection: true);

        for (int count = 0; count < 4 * Calls; count++)
        {
            _ = bench.Driver.CloseSession(bench.Open());
        }

        Assert.That(GC.GetTotalMemory(forceFullCollection: true) - before, Is.LessThan(1 << 20));
        Assert.That(await bench.DisposeGuestAsync(), Is.EqualTo(GuestBench.Nothing));
    }

    private static int CountThreads() => Directory.GetDirectories("/proc/self/task").Length;
}
