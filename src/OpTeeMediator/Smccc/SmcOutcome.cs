namespace OpTeeMediator.Smccc;

/// <summary>What an <see cref="ISmcHandler"/> made of a call.</summary>
/// <remarks>Immutable, hence thread-safe.</remarks>
public readonly record struct SmcOutcome
{
    private SmcOutcome(SmcOutcomeKind kind, SmcRegisterSet registers)
    {
        Kind = kind;
        Registers = registers;
    }

    /// <summary>Which of the three outcomes it is.</summary>
    public SmcOutcomeKind Kind { get; }

    /// <summary>
    /// The registers whose values changed (<see cref="SmcOutcomeKind.Handled"/>) or that the handler must see too
    /// (<see cref="SmcOutcomeKind.NeedsRegisters"/>); empty otherwise.
    /// </summary>
    public SmcRegisterSet Registers { get; }

    /// <summary>The call is not one of the handler's; no register was touched.</summary>
    public static SmcOutcome NotHandled => default;

    /// <summary>The registers hold a valid answer.</summary>
    /// <param name="changed">The registers to write back to the vCPU.</param>
    /// <returns>The outcome.</returns>
    public static SmcOutcome Handled(SmcRegisterSet changed) => new(SmcOutcomeKind.Handled, changed);

    /// <summary>Nothing was done yet: the handler must see more registers.</summary>
    /// <param name="needed">All registers that the handler needs to get on, loaded ones among them.</param>
    /// <returns>The outcome.</returns>
    public static SmcOutcome NeedsRegisters(SmcRegisterSet needed) => new(SmcOutcomeKind.NeedsRegisters, needed);
}
