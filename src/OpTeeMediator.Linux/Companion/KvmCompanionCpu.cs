using OpTeeMediator.Kvm;
using OpTeeMediator.Kvm.Arm64;

namespace OpTeeMediator.Linux.Companion;

internal sealed class KvmCompanionCpu(KvmVcpu vcpu) : ICompanionCpu
{
    public KvmMmioExit Mmio => vcpu.Mmio;

    public KvmHypercallExit Hypercall => vcpu.Hypercall;

    public ulong Get(Arm64Register register) => vcpu.GetRegister<ulong>(register.Id);

    public void Set(Arm64Register register, ulong value) => vcpu.SetRegister(register.Id, value);

    public KvmExitReason Run() => vcpu.Run();

    public void Kick() => vcpu.Kick();
}
