using System.Runtime.CompilerServices;
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
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsConstant(uint functionId)
    {
        uint number = functionId - OpTeeSmc.GetOsUuid;
        return number < 32 && (Constant >> (int)number & 1) != 0;
    }

    /// <summary>Answers a fast call that has no effect.</summary>
    public SmcOutcome Handle(uint functionId, ref SmcRegisters registers) => functionId switch
    {
        OpTeeSmc.CallsCount => registers.AnswerX0(CallsCount),
        OpTeeSmc.CallsUid => registers.Answer(OpTeeUid.First, OpTeeUid.Second, OpTeeUid.Third, OpTeeUid.Fourth),
        OpTeeSmc.CallsRevision => registers.AnswerX0ToX1(2, 0),
        OpTeeSmc.GetOsUuid => registers.Answer(0x4861_78e0, 0xe7f8_11e3, 0xbc5e_0002, 0xa5d5_c51b),
        OpTeeSmc.GetOsRevision => registers.AnswerX0ToX2(revision.Major, revision.Minor, revision.BuildId),
        OpTeeSmc.GetThreadCount => registers.AnswerX0ToX1(OpTeeSmc.ReturnOk, _calls),
        OpTeeSmc.GetShmConfig when options.ReservedSharedMemory is { } reserved =>
            registers.Answer(OpTeeSmc.ReturnOk, reserved.Start.Value, reserved.Length, SharedMemoryCached),
        OpTeeSmc.GetShmConfig or OpTeeSmc.GetProtectedMemoryConfig => registers.AnswerX0(OpTeeSmc.ReturnNotAvailable),
        _ => registers.AnswerX0(OpTeeSmc.ReturnUnknownFunction),
    };
}
