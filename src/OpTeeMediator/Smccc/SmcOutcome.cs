namespace OpTeeMediator.Smccc;

/// <summary>What an <see cref="ISmcHandler"/> made of a call.</summary>
/// <remarks>Immutable, hence thread-safe.</remarks>
public readonly record struct SmcOutcome
{
    // One word, so that it is returned in a register: the registers below, the kind above.
    private const int KindShift = 24;

    private readonly uint _bits;

    private SmcOutcome(SmcOutcomeKind kind, SmcRegisterSet registers) =>
        _bits = (uint)kind << KindShift | registers.Bits;

    /// <summary>Which of the outcomes it is.</summary>
    public SmcOutcomeKind Kind => (SmcOutcomeKind)(_bits >> KindShift);

    /// <summary>The registers whose values changed (<see cref="SmcOutcomeKind.Handled"/>) or that the handler must see
    /// too (<see cref="SmcOutcomeKind.NeedsRegisters"/>); empty otherwise.</summary>
    public SmcRegisterSet Registers => new(_bits & ((1u << KindShift) - 1));

    /// <summary>The call is not one of the handler's; no register was touched.</summary>
    public static SmcOutcome NotHandled => default;

    /// <summary>No answer within the quantum, no register touched: the vCPU is to repeat its instruction.</summary>
    public static SmcOutcome Retry => new(SmcOutcomeKind.Retry, SmcRegisterSet.None);

    /// <summary>The registers hold a valid answer.</summary>
    /// <param name="changed">The registers to write back to the vCPU.</param>
    public static SmcOutcome Handled(SmcRegisterSet changed) => new(SmcOutcomeKind.Handled, changed);

    /// <summary>Nothing was done yet: the handler must see more registers.</summary>
    /// <param name="needed">All registers that the handler needs to get on, loaded ones among them.</param>
    public static SmcOutcome NeedsRegisters(SmcRegisterSet needed) => new(SmcOutcomeKind.NeedsRegisters, needed);
}
