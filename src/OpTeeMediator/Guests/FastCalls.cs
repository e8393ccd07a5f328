using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Guests;

/// <summary>The fast calls that ask who and what the TEE is: answers that never change.</summary>
internal sealed class FastCalls(OpTeeGuestOptions options, OpTeeRevision revision)
{
    // What OP-TEE itself answers: the number of fast calls, by its own count.
    private const uint CallsCount = 12;
    private const ulong SharedMemoryCached = 1;

    // Bit n: 0xb200_0000 + n is one of those that have no effect and need X0 alone.
    private const uint Constant = 1u << (int)(OpTeeSmc.GetOsUuid & 31) | 1u << (int)(OpTeeSmc.GetOsRevision & 31)
        | 1u << (int)(OpTeeSmc.GetShmConfig & 31) | 1u << (int)(OpTeeSmc.GetThreadCount & 31)
        | 1u << (int)(OpTeeSmc.GetProtectedMemoryConfig & 31);

    private readonly ulong _calls = (ulong)options.Limits.Calls;

    /// <summary>Whether a function is one of those that are answered first.</summary>
    public static bool IsConstant(uint functionId)
    {
        uint number = functionId - OpTeeSmc.GetOsUuid;
        return number < 32 && (Constant >> (int)number & 1) != 0;
    }

    /// <summary>Answers a fast call that has no effect.</summary>
    public SmcOutcome Handle(uint functionId, ref SmcRegisters registers)
    {
        switch (functionId)
        {
            case OpTeeSmc.CallsCount:
                return registers.AnswerX0(CallsCount);

            case OpTeeSmc.CallsUid:
                return registers.Answer(OpTeeUid.First, OpTeeUid.Second, OpTeeUid.Third, OpTeeUid.Fourth);

            case OpTeeSmc.CallsRevision:
                registers.X0 = 2;
                registers.X1 = 0;
                return SmcOutcome.Handled(OpTeeRegisters.X0ToX1);

            case OpTeeSmc.GetOsUuid:
                return registers.Answer(0x4861_78e0, 0xe7f8_11e3, 0xbc5e_0002, 0xa5d5_c51b);

            case OpTeeSmc.GetOsRevision:
                registers.X0 = revision.Major;
                registers.X1 = revision.Minor;
                registers.X2 = revision.BuildId;
                return SmcOutcome.Handled(OpTeeRegisters.X0ToX2);

            case OpTeeSmc.GetThreadCount:
                registers.X0 = OpTeeSmc.ReturnOk;
                registers.X1 = _calls;
                return SmcOutcome.Handled(OpTeeRegisters.X0ToX1);

            case OpTeeSmc.GetShmConfig when options.ReservedSharedMemory is { } reserved:
                return registers.Answer(OpTeeSmc.ReturnOk, reserved.Start.Value, reserved.Length, SharedMemoryCached);

            case OpTeeSmc.GetShmConfig:
            case OpTeeSmc.GetProtectedMemoryConfig:
                return registers.AnswerX0(OpTeeSmc.ReturnNotAvailable);

            default:
                return registers.AnswerX0(OpTeeSmc.ReturnUnknownFunction);
        }
    }
}
