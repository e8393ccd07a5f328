using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Linux.Companion;

/// <summary>What of a guest's calls comes to OP-TEE, and with which registers.</summary>
/// <remarks>
/// Each register is two system calls, one for each vCPU, so only those go over that the interface gives a meaning; the
/// others of OP-TEE's core keep what OP-TEE itself has left in them. Calls that are not known here take all arguments.
/// </remarks>
internal static class SmcFilter
{
    // Bits 17 to 23 of a function identifier: no call of OP-TEE has one set. Bit 16 is a hint (SMCCC 1.3).
    private const uint ReservedBits = 0x00fe_0000;

    private const int ResumeInformation = 3;

    /// <summary>The registers of a fast call's answer.</summary>
    internal static readonly SmcRegisterSet FastOutputs = SmcRegisterSet.Range(0, 3);

    private static readonly SmcRegisterSet X0ToX1 = SmcRegisterSet.Range(0, 1);
    private static readonly SmcRegisterSet X0ToX2 = SmcRegisterSet.Range(0, 2);
    private static readonly SmcRegisterSet X0ToX3 = SmcRegisterSet.Range(0, 3);
    private static readonly SmcRegisterSet X0ToX5 = SmcRegisterSet.Range(0, 5);
    private static readonly SmcRegisterSet X0ToX6 = SmcRegisterSet.Range(0, 6);
    private static readonly SmcRegisterSet X0AndX3 = new(1u << 0 | 1u << ResumeInformation);

    /// <summary>
    /// Whether a call is one of the trusted OS: all that a guest may reach. The monitor's own (owner 62) are not among
    /// them.
    /// </summary>
    internal static bool Admits(SmcFunctionId id) =>
        !id.IsSmc64 && (id.Value & ReservedBits) == 0 && (
            id.Owner == OpTeeSmc.OwnerTrustedOs || (id.IsFast && id.Owner == OpTeeSmc.OwnerTrustedOsApi));

    /// <summary>The registers that a call hands over.</summary>
    internal static SmcRegisterSet Inputs(
        uint functionId, SmcRegisterSet loaded, ulong resumeInformation, SuspendedCalls suspended) =>
        functionId switch
    {
        OpTeeSmc.CallWithRegisteredArgument => X0ToX3,
        OpTeeSmc.CallWithArgument or OpTeeSmc.CallWithRpcArgument => X0ToX2,
        OpTeeSmc.ReturnFromRpc =>
            loaded.Contains(X0AndX3) && suspended.TakesArguments(resumeInformation) ? X0ToX5 : X0AndX3,
        OpTeeSmc.ExchangeCapabilities => X0ToX1,
        OpTeeSmc.CallsUid or OpTeeSmc.CallsRevision or OpTeeSmc.CallsCount or OpTeeSmc.GetOsUuid
            or OpTeeSmc.GetOsRevision or OpTeeSmc.GetShmConfig or OpTeeSmc.DisableShmCache or OpTeeSmc.EnableShmCache
            or OpTeeSmc.GetThreadCount or OpTeeSmc.EnableAsyncNotification or OpTeeSmc.GetAsyncNotificationValue =>
            SmcRegisterSet.X0,
        _ => X0ToX6,
    };

    /// <summary>
    /// The registers of an answer. A yielding call's answer is X0 alone unless it asks something of the guest: what
    /// lies in the others would tell the guest of OP-TEE's insides.
    /// </summary>
    internal static SmcRegisterSet Outputs(bool isFast, uint answer) => answer switch
    {
        _ when isFast => FastOutputs,
        OpTeeSmc.ReturnRpcForeignInterrupt => X0AndX3,
        _ when IsRpc(answer) => X0ToX3,
        _ => SmcRegisterSet.X0,
    };

    /// <summary>Whether a resumption hands over an answer.</summary>
    internal static bool HasArguments(SmcRegisterSet inputs) => inputs.Contains(X0ToX5);

    /// <summary>Whether an answer suspends the call (OPTEE_SMC_RETURN_IS_RPC).</summary>
    internal static bool IsRpc(uint answer) =>
        answer != OpTeeSmc.ReturnUnknownFunction && answer >> 16 == OpTeeSmc.ReturnRpcAllocate >> 16;

    /// <summary>The answer where there is no OP-TEE any more.</summary>
    internal static SmcOutcome Refuse(ref SmcRegisters registers)
    {
        // Linux asks for the TEE's cached buffers again and again until it hears that there are none; every other call
        // may fail.
        registers.X0 = registers.FunctionId.WithoutHint.Value == OpTeeSmc.DisableShmCache
            ? OpTeeSmc.ReturnNotAvailable
            : SmcccReturn.NotSupported;
        return SmcOutcome.Handled(SmcRegisterSet.X0);
    }
}
