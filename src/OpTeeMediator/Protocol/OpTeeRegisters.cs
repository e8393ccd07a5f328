using System.Runtime.CompilerServices;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Protocol;

/// <summary>Which registers OP-TEE's calls and their returns use, as <see cref="OpTeeSmc"/> describes them.</summary>
internal static class OpTeeRegisters
{
    private const uint RpcPrefix = 0xffff_0000;

    public static SmcRegisterSet X0ToX1 { get; } = SmcRegisterSet.Range(0, 1);

    public static SmcRegisterSet X0ToX2 { get; } = SmcRegisterSet.Range(0, 2);

    public static SmcRegisterSet X0ToX3 { get; } = SmcRegisterSet.Range(0, 3);

    /// <summary>RETURN_FROM_RPC, and FOREIGN_INTR: which call to resume.</summary>
    public static SmcRegisterSet ResumeInformation { get; } = new(1u << 0 | 1u << 3);

    /// <summary>RETURN_FROM_RPC after an ALLOC: the address and the cookie of the memory, too.</summary>
    public static SmcRegisterSet AllocationAnswer { get; } = SmcRegisterSet.Range(0, 5);

    /// <summary>The registers that a call needs; of RETURN_FROM_RPC those that tell which call it resumes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static SmcRegisterSet NeededBy(uint functionId) => functionId switch
    {
        OpTeeSmc.CallWithRegisteredArgument => X0ToX3,
        OpTeeSmc.CallWithArgument or OpTeeSmc.CallWithRpcArgument => X0ToX2,
        OpTeeSmc.ReturnFromRpc => ResumeInformation,
        OpTeeSmc.ExchangeCapabilities => X0ToX1,
        _ => SmcRegisterSet.X0,
    };

    /// <summary>Whether a yielding call goes on: OP-TEE asks for something (OPTEE_SMC_RETURN_IS_RPC).</summary>
    public static bool IsRpc(uint answer) =>
        (answer & RpcPrefix) == RpcPrefix && answer != OpTeeSmc.ReturnUnknownFunction;

    /// <summary>Answers with X0; the other registers keep what the guest has in them.</summary>
    public static SmcOutcome AnswerX0(this ref SmcRegisters registers, ulong x0)
    {
        registers.X0 = x0;
        return SmcOutcome.Handled(SmcRegisterSet.X0);
    }

    /// <summary>Answers with X0 and X1; the other registers keep what the guest has in them.</summary>
    public static SmcOutcome AnswerX0ToX1(this ref SmcRegisters registers, ulong x0, ulong x1)
    {
        registers.X0 = x0;
        registers.X1 = x1;
        return SmcOutcome.Handled(X0ToX1);
    }

    /// <summary>Answers with X0 to X2; the other registers keep what the guest has in them.</summary>
    public static SmcOutcome AnswerX0ToX2(this ref SmcRegisters registers, ulong x0, ulong x1, ulong x2)
    {
        registers.X0 = x0;
        registers.X1 = x1;
        registers.X2 = x2;
        return SmcOutcome.Handled(X0ToX2);
    }

    /// <summary>Answers with X0 alone; the other results are 0.</summary>
    public static SmcOutcome Answer(this ref SmcRegisters registers, uint x0) => registers.Answer(x0, 0, 0, 0);

    public static SmcOutcome Answer(this ref SmcRegisters registers, ulong x0, ulong x1, ulong x2, ulong x3)
    {
        registers.X0 = x0;
        registers.X1 = x1;
        registers.X2 = x2;
        registers.X3 = x3;
        return SmcOutcome.Handled(X0ToX3);
    }
}
