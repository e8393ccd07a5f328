namespace OpTeeMediator.Smccc;

/// <summary>The three outcomes of <see cref="ISmcHandler.Handle(ref SmcRegisters, SmcRegisterSet)"/>.</summary>
public enum SmcOutcomeKind
{
    /// <summary>The call is not one of the handler's; no register was touched.</summary>
    NotHandled,

    /// <summary>The registers hold a valid answer.</summary>
    Handled,

    /// <summary>Nothing was done yet: load the named registers and call again.</summary>
    NeedsRegisters,
}
