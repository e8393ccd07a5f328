using OpTeeMediator.Kvm;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Linux.Guests;

/// <summary>One forwarded call: loads what the handler needs, writes back what it changed.</summary>
internal static class SmcccCall
{
    /// <summary>Answers a call with the registers of <paramref name="file"/>.</summary>
    /// <exception cref="InvalidOperationException">The handler asks for registers again.</exception>
    internal static SmcccCallReport Handle<TFile>(
        ref TFile file, KvmHypercallExit exit, ISmcHandler handler, SmcccConduit conduit)
        where TFile : struct, IRegisterFile
    {
        // A filtered HVC exits like an SMC; a guest that was told one has no business with the other.
        if (exit.IsSmc != (conduit == SmcccConduit.Smc))
        {
            return Refuse(ref file, 0);
        }

        // The exit carries the low 32 bits of X0, which are all that SMCCC looks at.
        SmcRegisters registers = default;
        registers.X0 = (uint)exit.Number;
        SmcRegisterSet loaded = SmcRegisterSet.X0;
        SmcOutcome outcome = handler.Handle(ref registers, loaded);
        while (outcome.Kind == SmcOutcomeKind.NeedsRegisters)
        {
            SmcRegisterSet missing = outcome.Registers.Except(loaded);
            if (missing.IsEmpty)
            {
                throw new InvalidOperationException(
                    $"{handler.GetType().Name} asks for {outcome.Registers}, all of which it was given, for call"
                        + $" {registers.FunctionId}.");
            }

            loaded = loaded.Union(missing);
            while (SmcRegisterSet.TryTakeFirst(ref missing, out int index))
            {
                registers[index] = file.Read(index);
            }

            outcome = handler.Handle(ref registers, loaded);
        }

        int reads = loaded.Count - 1;
        if (outcome.Kind == SmcOutcomeKind.NotHandled)
        {
            return Refuse(ref file, reads);
        }

        if (outcome.Kind == SmcOutcomeKind.Retry)
        {
            // At the exit the program counter is behind the instruction.
            file.MoveBack(exit.InstructionLength);
            return new SmcccCallReport(true, reads + 1, 1);
        }

        SmcRegisterSet changed = outcome.Registers;
        while (SmcRegisterSet.TryTakeFirst(ref changed, out int index))
        {
            file.Write(index, registers[index]);
        }

        return new SmcccCallReport(true, reads, outcome.Registers.Count);
    }

    private static SmcccCallReport Refuse<TFile>(ref TFile file, int reads) where TFile : struct, IRegisterFile
    {
        file.Write(0, SmcccReturn.NotSupported);
        return new SmcccCallReport(false, reads, 1);
    }
}
