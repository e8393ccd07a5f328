using OpTeeMediator.Forwarding;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Testing.Supplied;

/// <summary>A secure monitor of which one call fails, before or after OP-TEE has served it.</summary>
public sealed class FailingMonitor(ISecureMonitor inner, FailurePlan plan) : ISecureMonitor
{
    public void MakeCall(ref SmcRegisters registers)
    {
        plan.Enter("MakeCall, before it");
        inner.MakeCall(ref registers);
        plan.Enter("MakeCall, after it");
    }
}
