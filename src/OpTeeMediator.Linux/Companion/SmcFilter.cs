using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Linux.Companion;

/// <summary>What of a guest's calls comes to OP-TEE, and with which registers.</summary>
/// <remarks>Each register is two system calls, one for each vCPU, so only those go over that the interface gives a
/// meaning; the others of OP-TEE's core keep what OP-TEE has left there. Unknown calls take all.</remarks>
internal static class SmcFilter
{
    /// <summary>The registers of a fast call's answer.</summary>
    internal static readonly SmcRegisterSet FastOutputs = OpTeeRegisters.X0ToX3;

    private static readonly SmcRegisterSet X0ToX6 = SmcRegisterSet.Range(0, 6);

    internal static SmcRegisterSet Inputs(
        uint functionId, SmcRegisterSet loaded, ulong resumeInformation, SuspendedCalls suspended) =>
        functionId switch
    {
        OpTeeSmc.ReturnFromRpc
            when loaded.Contains(OpTeeRegisters.ResumeInformation) && suspended.TakesArguments(resumeInformation) =>
            OpTeeRegisters.AllocationAnswer,
        OpTeeSmc.CallsUid or OpTeeSmc.CallsRevision or OpTeeSmc.CallsCount or OpTeeSmc.GetOsUuid
            or OpTeeSmc.GetOsRevision or OpTeeSmc.GetShmConfig or OpTeeSmc.DisableShmCache or OpTeeSmc.EnableShmCache
            or OpTeeSmc.GetThreadCount or OpTeeSmc.EnableAsyncNotification or OpTeeSmc.GetAsyncNotificationValue
            or OpTeeSmc.ReturnFromRpc or OpTeeSmc.ExchangeCapabilities or OpTeeSmc.CallWithArgument
            or OpTeeSmc.CallWithRpcArgument or OpTeeSmc.CallWithRegisteredArgument =>
            OpTeeRegisters.NeededBy(functionId),
        _ => X0ToX6,
    };

    /// <summary>The registers of an answer. A yielding call's answer is X0 alone unless it asks something of the guest:
    /// what lies in the others would tell the guest of OP-TEE's insides.</summary>
    internal static SmcRegisterSet Outputs(bool isFast, uint answer) => answer switch
    {
        _ when isFast => FastOutputs,
        OpTeeSmc.ReturnRpcForeignInterrupt => OpTeeRegisters.ResumeInformation,
        _ when OpTeeRegisters.IsRpc(answer) => OpTeeRegisters.X0ToX3,
        _ => SmcRegisterSet.X0,
    };

    internal static bool HasArguments(SmcRegisterSet inputs) => inputs.Contains(OpTeeRegisters.AllocationAnswer);

    /// <summary>The answer where there is no OP-TEE any more.</summary>
    internal static SmcOutcome Refuse(ref SmcRegisters registers)
    {
        // Linux asks for the TEE's cached buffers until it hears that there are none; other calls may fail.
        registers.X0 = registers.FunctionId.WithoutHint.Value == OpTeeSmc.DisableShmCache
            ? OpTeeSmc.ReturnNotAvailable
            : SmcccReturn.NotSupported;
        return SmcOutcome.Handled(SmcRegisterSet.X0);
    }
}
