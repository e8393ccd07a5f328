using OpTeeMediator.Smccc;

namespace OpTeeMediator.Forwarding;

/// <summary>Writes the registers that answer a call of the guest.</summary>
internal static class ForwardedAnswer
{
    /// <summary>X0 to X3: the results of every call but those that the SMCCC itself answers.</summary>
    public static SmcRegisterSet Results { get; } = SmcRegisterSet.Range(0, 3);

    /// <summary>Answers with X0 alone; the other results are 0.</summary>
    public static SmcOutcome Answer(this ref SmcRegisters registers, uint x0) => registers.Answer(x0, 0, 0, 0);

    public static SmcOutcome Answer(this ref SmcRegisters registers, uint x0, ulong x1, ulong x2, ulong x3)
    {
        registers.X0 = x0;
        registers.X1 = x1;
        registers.X2 = x2;
        registers.X3 = x3;
        return SmcOutcome.Handled(Results);
    }
}
