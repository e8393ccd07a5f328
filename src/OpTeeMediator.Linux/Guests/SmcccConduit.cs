namespace OpTeeMediator.Linux.Guests;

/// <summary>The instruction by which the guest makes SMCCC calls: the <c>method</c> of its device tree's <c>optee</c>
/// node.</summary>
public enum SmcccConduit
{
    /// <summary>SMC: what the mediator announces unless the VMM says otherwise.</summary>
    Smc,

    /// <summary>HVC.</summary>
    Hvc,
}
