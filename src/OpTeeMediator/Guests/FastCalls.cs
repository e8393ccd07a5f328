using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Guests;

/// <summary>The fast calls that ask who and what the TEE is: answers that never change.</summary>
internal sealed class FastCalls(OpTeeGuestOptions options, OpTeeRevision revision)
{
    // What OP-TEE itself answers: the number of fast calls, by its own count.
    private const uint CallsCount = 12;
    private const ulong SharedMemoryCached = 1;

    /// <summary>Answers a fast call that has no effect.</summary>
    public SmcOutcome Handle(uint functionId, ref SmcRegisters registers)
    {
        switch (functionId)
        {
            case OpTeeSmc.CallsCount:
                registers.X0 = CallsCount;
                return SmcOutcome.Handled(SmcRegisterSet.X0);

            case OpTeeSmc.CallsUid:
                return Answer(ref registers, OpTeeUid.First, OpTeeUid.Second, OpTeeUid.Third, OpTeeUid.Fourth);

            case OpTeeSmc.CallsRevision:
                registers.X0 = 2;
                registers.X1 = 0;
                return SmcOutcome.Handled(OpTeeRegisters.X0ToX1);

            case OpTeeSmc.GetOsUuid:
                return Answer(ref registers, 0x4861_78e0, 0xe7f8_11e3, 0xbc5e_0002, 0xa5d5_c51b);

            case OpTeeSmc.GetOsRevision:
                registers.X0 = revision.Major;
                registers.X1 = revision.Minor;
                registers.X2 = revision.BuildId;
                return SmcOutcome.Handled(OpTeeRegisters.X0ToX2);

            case OpTeeSmc.GetThreadCount:
                registers.X0 = OpTeeSmc.ReturnOk;
                registers.X1 = (ulong)options.Limits.Calls;
                return SmcOutcome.Handled(OpTeeRegisters.X0ToX1);

            case OpTeeSmc.GetShmConfig when options.ReservedSharedMemory is { } reserved:
                return Answer(ref registers, OpTeeSmc.ReturnOk, reserved.Start.Value, reserved.Length,
                    SharedMemoryCached);

            case OpTeeSmc.GetShmConfig:
            case OpTeeSmc.GetProtectedMemoryConfig:
                registers.X0 = OpTeeSmc.ReturnNotAvailable;
                return SmcOutcome.Handled(SmcRegisterSet.X0);

            default:
                registers.X0 = OpTeeSmc.ReturnUnknownFunction;
                return SmcOutcome.Handled(SmcRegisterSet.X0);
        }
    }

    /// <summary>Four results.</summary>
    public static SmcOutcome Answer(ref SmcRegisters registers, ulong x0, ulong x1, ulong x2, ulong x3)
    {
        registers.X0 = x0;
        registers.X1 = x1;
        registers.X2 = x2;
        registers.X3 = x3;
        return SmcOutcome.Handled(OpTeeRegisters.X0ToX3);
    }
}
