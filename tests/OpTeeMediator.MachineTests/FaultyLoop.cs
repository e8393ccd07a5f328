using System.Collections.Immutable;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.MachineTests;

/// <summary>A VMM's loop that can have the mistakes which the troubleshooting page names.</summary>
internal sealed class FaultyLoop : ISmcHandler
{
    /// <summary>Answers a call in place of the OP-TEE.</summary>
    /// <param name="registers">The registers.</param>
    /// <returns>Whether it has; otherwise the OP-TEE is asked.</returns>
    public delegate bool Mistake(ref SmcRegisters registers);

    /// <summary>What answers first.</summary>
    public Mistake? Present { get; set; }

    /// <summary>The OP-TEE.</summary>
    public required ISmcHandler OpTee { get; set; }

    /// <inheritdoc/>
    public ImmutableArray<SmcFunctionRange> Ranges => OpTee.Ranges;

    /// <inheritdoc/>
    public SmcOutcome Handle(ref SmcRegisters registers, SmcRegisterSet loaded) =>
        Present?.Invoke(ref registers) == true
            ? SmcOutcome.Handled(SmcRegisterSet.None)
            : OpTee.Handle(ref registers, loaded);
}
