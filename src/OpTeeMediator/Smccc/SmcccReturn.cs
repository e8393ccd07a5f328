namespace OpTeeMediator.Smccc;

/// <summary>Return codes that the SMC Calling Convention itself defines (Arm DEN0028, "Return codes").</summary>
public static class SmcccReturn
{
    /// <summary>SMCCC NOT_SUPPORTED, −1 in X0: no service answers the function identifier.</summary>
    public const ulong NotSupported = ulong.MaxValue;
}
