using OpTeeMediator.Smccc;

namespace OpTeeMediator.ReadmeSnippets;

/// <summary>The guide's snippet about another hypervisor's loop; a test runs it.</summary>
internal static class OwnLoop
{
    internal static void HandleSmc(
        ISmcHandler smc, Func<int, ulong> readRegister, Action<int, ulong> writeRegister, Action skipInstruction)
    {
        // <snippet>
        var registers = new SmcRegisters();
        for (int x = 0; x < SmcRegisters.Count; x++)
        {
            registers[x] = readRegister(x);
        }

        SmcOutcome outcome = smc.Handle(ref registers);
        SmcRegisterSet changed = outcome.Registers;
        switch (outcome.Kind)
        {
            case SmcOutcomeKind.Handled:
                while (SmcRegisterSet.TryTakeFirst(ref changed, out int x))
                {
                    writeRegister(x, registers[x]);
                }

                break;
            case SmcOutcomeKind.Retry:          // the guest takes its interrupts, and executes the instruction again
                return;
            default:                            // not OP-TEE's: NOT_SUPPORTED
                writeRegister(0, unchecked((ulong)-1L));
                break;
        }

        skipInstruction();
        // </snippet>
    }
}
