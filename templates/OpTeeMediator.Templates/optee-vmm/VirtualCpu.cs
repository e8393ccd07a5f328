using OpTeeMediator.Smccc;

namespace OpTeeVmm;

/// <summary>A vCPU's registers, and what a VMM does when its guest executes SMC.</summary>
/// <remarks>
/// On KVM on arm64 all of it is two calls, which load and store only the registers that are needed:
/// <c>KvmSmccc.ForwardToUser(vmFd, smc)</c> once, before the first KVM_RUN, and at each KVM_EXIT_HYPERCALL
/// <c>KvmSmccc.Handle(vcpuFd, run, smc)</c> (namespace OpTeeMediator.Linux.Guests).
/// </remarks>
internal sealed class VirtualCpu(ISmcHandler smc)
{
    private readonly ulong[] _registers = new ulong[SmcRegisters.Count];

    /// <summary>X0 to X17 of the guest.</summary>
    public Span<ulong> X => _registers;

    /// <summary>The guest has executed SMC.</summary>
    public void HandleSmc()
    {
        var registers = new SmcRegisters();
        SmcOutcome outcome;
        do
        {
            for (int x = 0; x < SmcRegisters.Count; x++)
            {
                registers[x] = X[x];
            }

            outcome = smc.Handle(ref registers);

            // Retry: the guest takes its interrupts and executes the instruction again. This vCPU has no interrupts.
        }
        while (outcome.Kind == SmcOutcomeKind.Retry);

        if (outcome.Kind != SmcOutcomeKind.Handled)
        {
            X[0] = ulong.MaxValue; // not OP-TEE's: NOT_SUPPORTED
            return;
        }

        SmcRegisterSet changed = outcome.Registers;
        while (SmcRegisterSet.TryTakeFirst(ref changed, out int x))
        {
            X[x] = registers[x];
        }
    }
}
