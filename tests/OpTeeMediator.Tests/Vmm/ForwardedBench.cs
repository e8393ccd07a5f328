using OpTeeMediator.Forwarding;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Forwarding;
using OpTeeMediator.Tests.Linux;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Vmm;

/// <summary><see cref="OpTeeForwarder"/> over a fake OP-TEE that serves several VMs.</summary>
internal sealed class ForwardedBench : OpTeeBench
{
    private readonly ForwardedVm _vm;

    public ForwardedBench(TimeSpan? deadline = null)
    {
        _vm = new ForwarderBench().Create(
            options: new OpTeeForwarderOptions
            {
                NotificationInterrupt = Line, ShutdownDeadline = deadline ?? LongEnough,
            });
        _vm.Bench.OpTee.OnCall = registers =>
        {
            _vm.Bench.OpTee.InterruptsCalls = Suspends;
            if (!registers.FunctionId.IsFast)
            {
                EnterTee();
            }
        };
    }

    public override IGuestOpTee OpTee => _vm.Forwarder;

    public override ListLoggerFactory Log => _vm.Bench.Loggers;

    public override SmcRegisters NewCall()
    {
        ulong page = _vm.Driver.AllocatePage();
        _vm.Driver.WriteMessage(page, FakeDriver.Opening(ForwarderBench.Application, default, 0));
        SmcRegisters registers = default;
        registers.X0 = OpTeeSmc.CallWithRpcArgument;
        registers.X1 = page >> 32;
        registers.X2 = (uint)page;
        return registers;
    }

    /// <summary>OP-TEE's own interrupt comes.</summary>
    public override Action PrepareInterrupt()
    {
        _ = _vm.Driver.Call(OpTeeSmc.EnableAsyncNotification);
        return _vm.Forwarder.OnNotificationInterrupt;
    }

    public override ValueTask DisposeAsync() => _vm.Forwarder.DisposeAsync();
}
