using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;
using OpTeeMediator.Tests.Linux;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Vmm;

/// <summary><see cref="OpTeeGuest"/> over a scripted backend.</summary>
internal sealed class MediatedBench : OpTeeBench
{
    private readonly GuestBench _bench;

    public MediatedBench()
    {
        OpTeeGuestOptions options = new()
        {
            NotificationInterrupt = Line,
            SleepAfter = TimeSpan.FromMilliseconds(1),
            ShutdownDeadline = LongEnough,
        };
        _bench = new GuestBench(options, GuestBench.OnWorkers());
        _bench.Backend.OnOpen = request =>
        {
            EnterTee();
            if (Suspends)
            {
                _ = request.Guest!.Call(OpTeeRpc.Suspend);
                EnterTee();
            }

            return new(TeeResult.Success);
        };
    }

    public override IGuestOpTee OpTee => _bench.Guest;

    public override ListLoggerFactory Log => _bench.Loggers;

    public override SmcRegisters NewCall()
    {
        ulong page = _bench.Driver.AllocatePage();
        _bench.Driver.WriteMessage(page, FakeDriver.Opening(GuestBench.Application, default, 0));
        SmcRegisters registers = default;
        registers.X0 = OpTeeSmc.CallWithRpcArgument;
        registers.X1 = page >> 32;
        registers.X2 = (uint)page;
        return registers;
    }

    /// <summary>A call sleeps; its end raises the interrupt.</summary>
    public override Action PrepareInterrupt()
    {
        ManualResetEventSlim mayEnd = new();
        InTee = mayEnd.Wait;
        _ = _bench.Driver.Call(OpTeeSmc.EnableAsyncNotification);
        SmcRegisters registers = NewCall();
        while (true)
        {
            SmcOutcome outcome = Make(ref registers);
            if (registers.X0 == OpTeeSmc.ReturnRpcCommand)
            {
                return mayEnd.Set;
            }

            registers = Next(outcome, registers);
        }
    }

    public override ValueTask DisposeAsync() => _bench.DisposeAsync();
}
