namespace OpTeeMediator.Smccc;

/// <summary>The outcomes of <see cref="ISmcHandler.Handle(ref SmcRegisters, SmcRegisterSet)"/>.</summary>
public enum SmcOutcomeKind
{
    /// <summary>The call is not one of the handler's; no register was touched.</summary>
    NotHandled,

    /// <summary>The registers hold a valid answer.</summary>
    Handled,

    /// <summary>Nothing was done yet: load the named registers and call again.</summary>
    NeedsRegisters,

    /// <summary>Nothing was done yet: let the guest take its interrupts, then have the vCPU execute the instruction
    /// again (its program counter back by the 4 bytes of the instruction, its registers as they were).</summary>
    Retry,
}
