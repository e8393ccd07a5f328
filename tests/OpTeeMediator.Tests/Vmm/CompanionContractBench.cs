using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.Arm64;
using OpTeeMediator.Linux.Companion;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Tests.Companion;
using OpTeeMediator.Tests.Linux;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Vmm;

/// <summary><see cref="OpTeeCompanion"/> over fake VMs.</summary>
internal sealed class CompanionContractBench : OpTeeBench
{
    private readonly CompanionBench _bench;

    public CompanionContractBench()
    {
        OpTeeCompanionOptions options = CompanionBench.Options() with
        {
            NotificationInterrupt = Line, AnswerDeadline = LongEnough, StartDeadline = LongEnough,
        };
        _bench = new CompanionBench(options, _ =>
        {
            FakeVm vm = new(2);
            foreach (FakeCpu cpu in vm.Fakes)
            {
                cpu.Program = Run;
            }

            return vm;
        });
    }

    public override IGuestOpTee OpTee => _bench.Companion;

    public CompanionBench Bench => _bench;

    public override ListLoggerFactory Log => _bench.Log;

    public override SmcRegisters NewCall()
    {
        SmcRegisters registers = default;
        registers.X0 = OpTeeSmc.CallWithArgument;
        return registers;
    }

    /// <summary>OP-TEE sets an interrupt of the normal world pending.</summary>
    public override Action PrepareInterrupt() => _bench.Line!.Pulse;

    public override ValueTask DisposeAsync() => _bench.DisposeAsync();

    private KvmExitReason Run(FakeCpu cpu)
    {
        const ulong Thread = 1;
        if (cpu[Arm64Register.Pc] == FakeCpu.Vectors)
        {
            EnterTee();
            bool isNew = (uint)cpu[Arm64Register.X(0)] != OpTeeSmc.ReturnFromRpc;
            cpu.Answer = Suspends && isNew ? [OpTeeSmc.ReturnRpcForeignInterrupt, 0, 0, Thread] : [0, 0, 0, 0];
        }

        return FakeCpu.Serve(cpu);
    }
}
