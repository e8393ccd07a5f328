namespace OpTeeMediator.Smccc;

/// <summary>Conveniences over <see cref="ISmcHandler"/>.</summary>
public static class SmcHandlerExtensions
{
    /// <summary>Answers a call whose registers are all there.</summary>
    /// <param name="handler">The service.</param>
    /// <param name="registers">X0–X17 of the vCPU; on return, its answer.</param>
    /// <returns><see cref="SmcOutcomeKind.NotHandled"/>, <see cref="SmcOutcomeKind.Handled"/> with the registers to
    /// write back, or, of handlers that say so, <see cref="SmcOutcomeKind.Retry"/>.</returns>
    /// <exception cref="ArgumentNullException"><paramref name="handler"/> is <see langword="null"/>.</exception>
    /// <remarks>As thread-safe as the handler: any vCPU thread may call.</remarks>
    public static SmcOutcome Handle(this ISmcHandler handler, ref SmcRegisters registers)
    {
        ArgumentNullException.ThrowIfNull(handler);
        return handler.Handle(ref registers, SmcRegisterSet.All);
    }
}
