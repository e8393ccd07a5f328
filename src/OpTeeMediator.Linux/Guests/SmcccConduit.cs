namespace OpTeeMediator.Linux.Guests;

/// <summary>The instruction of the guest's SMCCC calls: <c>method</c> of its device tree's <c>optee</c> node.</summary>
public enum SmcccConduit
{
    /// <summary>SMC: what the mediator announces unless the VMM says otherwise.</summary>
    Smc,

    /// <summary>HVC.</summary>
    Hvc,
}
