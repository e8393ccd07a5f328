using OpTeeMediator.Backends;
using OpTeeMediator.Memory;
using OpTeeMediator.Smccc;
using static OpTeeMediator.Tests.Conformance.MessageAttribute;
using static OpTeeMediator.Tests.Conformance.OpTeeCapabilities;
using static OpTeeMediator.Tests.Conformance.OpTeeFunction;
using static OpTeeMediator.Tests.Conformance.OpTeeReturn;

namespace OpTeeMediator.Tests.Conformance;

/// <summary>What the <c>optee</c> driver of Linux and its clients do, with a check of every answer.</summary>
internal sealed class ConformanceProgram(ISmcHandler smc, IGuestMemory memory) : ConformanceDriver(smc, memory)
{
    /// <summary>Where the guest's RAM begins, as on many Arm machines.</summary>
    public const ulong RamStart = 0x4000_0000;

    /// <summary>The size of the guest's RAM in bytes.</summary>
    public const ulong RamSize = 4 << 20;

    private const ulong ReverseSession = RamStart + 0x10_3000;
    private const ulong RandomSession = RamStart + 0x10_3004;

    // Two buffers whose pages are not in order. The first begins and ends within a page.
    private static readonly SharedBuffer Source =
        new("source", 0xffff_0000_0938_55a0, 0x9d, 0x4321, Pages(9, 2, 6, 3, 14));

    private static readonly SharedBuffer Target =
        new("target", 0xffff_0000_0938_5a80, 0, 5 * SharedBuffer.PageSize, Pages(4, 11, 1, 8, 5));

    private static readonly Pattern Text = new(0x1234_5678, 0x9e37_79b9);
    private static readonly Pattern Untouched = Pattern.Constant(0xa5);

    private static readonly Guid NoApplication = new("0badcafe-0bad-4afe-8bad-00badcafe000");

    // OP-TEE's random number generator, for which Linux has the driver optee-rng.
    private static readonly Guid RandomNumberGenerator = new("ab7a617c-b8e7-4d8f-8301-d09b61036b64");
    private const uint GetEntropy = 0;

    /// <exception cref="CheckFailedException">A check failed.</exception>
    public void Run()
    {
        DiscoverOpTee();
        AgreeOnCapabilities();
        ShareMemory();
        OpenSessions();
        ReverseNumbers();
        ReverseMemory();
        ReadRandomBytes();
        CleanUp();
    }

    private void DiscoverOpTee()
    {
        Step("discover OP-TEE");
        Call(CALLS_UID);
        ExpectRegisters(0x384f_b3e0, 0xe7f8_11e3, 0xaf63_0002, 0xa5d5_c51b);
        Call(GET_OS_REVISION);
        ExpectRegisterAtLeast(0, 1);
        Call(CALLS_REVISION);
        ExpectRegisters(2, 0);
        Call(GET_THREAD_COUNT);
        ExpectRegister(0, (uint)OK);
        ExpectRegisterAtLeast(1, 1);
    }

    private void AgreeOnCapabilities()
    {
        Step("agree on capabilities");
        Call(EXCHANGE_CAPABILITIES, x1: 1 /* one CPU */);
        ExpectRegister(0, (uint)OK);
        ExpectRegisterBits(1, (uint)(DYNAMIC_SHM | MEMREF_NULL | RPC_ARG));
        CallUntil(DISABLE_SHM_CACHE, ENOTAVAIL, attempts: 8);
    }

    private void ShareMemory()
    {
        Step("share a page for messages and two scattered buffers");
        Register(Messages);
        Register(Source);
        Register(Target);
        FillMemory(Source, 0, Source.Length, Text);
        FillMemory(Target, 0, Target.Length, Untouched);

        Step("share a buffer twice: refused");
        Register(Source, TeeReturnCode.BadParameters);

        Step("send a message from where no RAM is: refused");
        SendFrom(RamStart + RamSize, EBADADDR);
    }

    private void OpenSessions()
    {
        Step("open a session with an application that is not there: refused");
        OpenSession(NoApplication, TeeReturnCode.ItemNotFound, OriginTee);

        Step("open a session with the sample's application");
        OpenSession(ReverseApplication.Uuid, ReverseSession);

        Step("open a session with the random number generator");
        OpenSession(RandomNumberGenerator, RandomSession);
    }

    private void ReverseNumbers()
    {
        Step("reverse the bytes of two numbers");
        Invoke(ReverseSession, ReverseApplication.ReverseNumbers, TeeReturnCode.Success, OriginApplication,
            MessageParameter.Value(VALUE_INOUT, 0x1122_3344, 0xaabb_ccdd),
            MessageParameter.Value(VALUE_OUTPUT, 0, 0));
        ExpectValue(0, 0x4433_2211, 0xddcc_bbaa);
        ExpectValue(1, 1, 0);
    }

    private void ReverseMemory()
    {
        const ulong Offset = 0x234;
        Step("reverse the bytes of one buffer into the other");
        Invoke(ReverseSession, ReverseApplication.ReverseBytes, TeeReturnCode.Success, OriginApplication,
            MessageParameter.Memory(RMEM_INPUT, Source, 0, Source.Length),
            MessageParameter.Memory(RMEM_OUTPUT, Target, Offset, Source.Length + 100));
        ExpectSize(1, Source.Length);
        ExpectMemory(Source, 0, Source.Length, Text);
        ExpectMemory(Target, 0, Offset, Untouched);
        ExpectMemory(Target, Offset, Source.Length, Text.Reversed(Source.Length));
        ExpectMemory(Target, Offset + Source.Length, Target.Length - Offset - Source.Length, Untouched);

        Step("reverse them into too little memory: told how much is needed");
        Invoke(ReverseSession, ReverseApplication.ReverseBytes, TeeReturnCode.ShortBuffer, OriginApplication,
            MessageParameter.Memory(RMEM_INPUT, Source, 0, Source.Length),
            MessageParameter.Memory(RMEM_OUTPUT, Target, 0, Offset));
        ExpectSize(1, Source.Length);
        ExpectMemory(Target, 0, Offset, Untouched);

        Step("refer to memory beyond the end of a buffer: refused");
        Invoke(ReverseSession, ReverseApplication.ReverseBytes, TeeReturnCode.Security, OriginTee,
            MessageParameter.Memory(RMEM_INPUT, Source, 1, Source.Length),
            MessageParameter.Memory(RMEM_OUTPUT, Target, 0, Target.Length));
        ExpectMemory(Target, 0, Offset, Untouched);
    }

    private void ReadRandomBytes()
    {
        const ulong Length = 64;
        Step("read random bytes, twice");
        FillMemory(Target, 0, 3 * Length, Untouched);
        foreach (ulong offset in (ulong[])[0, Length])
        {
            Invoke(RandomSession, GetEntropy, TeeReturnCode.Success, OriginApplication,
                MessageParameter.Memory(RMEM_INOUT, Target, offset, Length));
            ExpectSize(0, Length);
        }

        ExpectMemory(Target, 2 * Length, Length, Untouched);
        ulong first = Target.AddressOf(0);
        ulong second = Target.AddressOf(Length);
        ulong untouched = Target.AddressOf(2 * Length);
        ExpectDifferentWords(first, second, Length, "equal words in both reads");
        ExpectDifferentWords(first, untouched, Length, "words that the first read left alone");
        ExpectDifferentWords(second, untouched, Length, "words that the second read left alone");
    }

    private void CleanUp()
    {
        Step("stop sharing a buffer, and refer to it: refused");
        Unregister(Target);
        Invoke(ReverseSession, ReverseApplication.ReverseBytes, TeeReturnCode.BadParameters, OriginTee,
            MessageParameter.Memory(RMEM_INPUT, Source, 0, 16),
            MessageParameter.Memory(RMEM_OUTPUT, Target, 0, 16));

        Step("close the sessions, and call into one: refused");
        CloseSession(RandomSession);
        CloseSession(ReverseSession);
        Invoke(ReverseSession, ReverseApplication.ReverseNumbers, TeeReturnCode.BadParameters, OriginTee);

        Step("stop sharing the rest");
        Unregister(Source);
        Unregister(Messages);
    }

    private static ulong[] Pages(params ReadOnlySpan<int> numbers)
    {
        ulong[] pages = new ulong[numbers.Length];
        for (int index = 0; index < pages.Length; index++)
        {
            pages[index] = RamStart + 0x20_0000 + ((ulong)numbers[index] * SharedBuffer.PageSize);
        }

        return pages;
    }
}
