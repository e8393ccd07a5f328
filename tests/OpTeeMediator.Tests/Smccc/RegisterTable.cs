using OpTeeMediator.Backends;
using OpTeeMediator.Guests;
using OpTeeMediator.Memory;
using OpTeeMediator.Protocol;
using OpTeeMediator.Smccc;
using OpTeeMediator.Testing;
using OpTeeMediator.Tests.Guests;
using OpTeeMediator.Vmm;

namespace OpTeeMediator.Tests.Smccc;

/// <summary>
/// The register tables of <c>optee_smc.h</c>, as data: every SMC and every way it ends without an RPC that needs the
/// guest.
/// </summary>
internal static class RegisterTable
{
    /// <summary>
    /// The page of the message that a row's call names. The first page of RAM, so that the driver's first page is it.
    /// </summary>
    private const ulong MessagePage = GuestBench.RamStart;

    private static readonly SmcRegisterSet X0ToX1 = SmcRegisterSet.Range(0, 1);
    private static readonly SmcRegisterSet X0ToX2 = SmcRegisterSet.Range(0, 2);
    private static readonly SmcRegisterSet X0ToX3 = SmcRegisterSet.Range(0, 3);
    private static readonly SmcRegisterSet X0AndX3 = new(0b1001);

    private static readonly OpTeeGuestOptions Reserving =
        new() { ReservedSharedMemory = new GuestRange(GuestBench.FreePages, 0x1_0000) };
    private static readonly OpTeeGuestOptions OneCall = new() { Limits = GuestBench.OneCall };

    /// <summary>Carries garbage in the upper halves: arguments are 32 bits wide.</summary>
    private static readonly Dictionary<int, ulong> AtMessagePage =
        new() { [1] = 0xdead_beef_0000_0000, [2] = 0xdead_beef_0000_0000 | MessagePage };

    private static readonly Dictionary<int, ulong> AtUnalignedAddress = new() { [1] = 0, [2] = MessagePage + 8 };

    private static readonly Dictionary<int, ulong> InRegisteredPage = new()
    {
        [1] = 0xdead_beef_0000_0000 | (FakeDriver.MessageCookie >> 32),
        [2] = 0xdead_beef_0000_0000 | (FakeDriver.MessageCookie & uint.MaxValue),
        [3] = 0xdead_beef_0000_0000,
    };

    private static readonly Dictionary<int, ulong> InUnknownBuffer = new() { [1] = 1, [2] = 2, [3] = 0 };

    public static IEnumerable<RegisterRow> Rows { get; } =
    [
        // OP-TEE 4.5 itself counts 12.
        new("CALLS_COUNT", 0xbf00_ff00) { Return = Results(12) },
        new("CALLS_UID", 0xbf00_ff01) { Return = Results(0x384f_b3e0, 0xe7f8_11e3, 0xaf63_0002, 0xa5d5_c51b) },
        new("CALLS_REVISION", 0xbf00_ff03) { Return = Results(2, 0) },
        new("GET_OS_UUID", 0xb200_0000) { Return = Results(0x4861_78e0, 0xe7f8_11e3, 0xbc5e_0002, 0xa5d5_c51b) },
        new("GET_OS_REVISION", 0xb200_0001)
        {
            Options = new OpTeeGuestOptions { Revision = new OpTeeRevision(4, 5, 0xabcd_ef12) },
            Return = Results(4, 5, 0xabcd_ef12),
        },
        new("GET_SHM_CONFIG, none", 0xb200_0007) { Return = Results(7) },
        new("GET_SHM_CONFIG", 0xb200_0007)
        {
            Options = Reserving, Return = Results(0, GuestBench.FreePages, 0x1_0000, 1),
        },
        new("GET_PROTMEM_CONFIG, none", 0xb200_0014) { Return = Results(7) },
        new("EXCHANGE_CAPABILITIES, RPMB", 0xb200_0009)
        {
            Options = new OpTeeGuestOptions
            {
                Capabilities = OpTeeCapabilities.DynamicSharedMemory | OpTeeCapabilities.RpmbProbe,
            },
            Call = new Dictionary<int, ulong> { [1] = 0 }, Needs = X0ToX1, Return = Results(0, 0x84, 0, 0),
        },
        new("EXCHANGE_CAPABILITIES, many processors", 0xb200_0009)
        {
            Call = new Dictionary<int, ulong> { [1] = 0 }, Needs = X0ToX1, Return = Results(0, 0x54, 0, 4),
        },
        new("EXCHANGE_CAPABILITIES, one processor", 0xb200_0009)
        {
            Call = new Dictionary<int, ulong> { [1] = 1 }, Needs = X0ToX1, Return = Results(0, 0x54, 0, 4),
        },
        new("EXCHANGE_CAPABILITIES, only what was allowed", 0xb200_0009)
        {
            Options = new OpTeeGuestOptions { Capabilities = OpTeeCapabilities.DynamicSharedMemory },
            Call = new Dictionary<int, ulong> { [1] = 0 }, Needs = X0ToX1, Return = Results(0, 0x4, 0, 0),
        },
        new("EXCHANGE_CAPABILITIES, reserved memory", 0xb200_0009)
        {
            Options = Reserving, Call = new Dictionary<int, ulong> { [1] = 0 }, Needs = X0ToX1,
            Return = Results(0, 0x55, 0, 4),
        },
        new("EXCHANGE_CAPABILITIES, unknown capability", 0xb200_0009)
        {
            Call = new Dictionary<int, ulong> { [1] = 2 }, Needs = X0ToX1, Return = Results(7),
        },
        new("DISABLE_SHM_CACHE", 0xb200_000a) { Return = Results(7) },
        new("DISABLE_SHM_CACHE, busy", 0xb200_000a) { Before = SuspendCall, Return = Results(2) },
        new("ENABLE_SHM_CACHE", 0xb200_000b) { Return = Results(0) },
        new("ENABLE_SHM_CACHE, busy", 0xb200_000b) { Before = SuspendCall, Return = Results(2) },
        new("GET_THREAD_COUNT", 0xb200_000f)
        {
            Options = new OpTeeGuestOptions { Limits = new OpTeeLimits { Calls = 5 } }, Return = Results(0, 5),
        },

        new("RETURN_FROM_RPC, unknown", 0x3200_0003)
        {
            Call = new Dictionary<int, ulong> { [3] = 0x101 }, Needs = X0AndX3, Return = Results(3),
        },
        new("RETURN_FROM_RPC, 0", 0x3200_0003)
        {
            Call = new Dictionary<int, ulong> { [3] = 0 }, Needs = X0AndX3, Return = Results(3),
        },
        new("RETURN_FROM_RPC, call ended", 0x3200_0003)
        {
            Options = OneCall,
            // Generation 1 of the only slot; where there are more, a thread begins its search at the one that it used
            // last.
            Before = EndSuspendedCall, Call = new Dictionary<int, ulong> { [3] = 0xdead_beef_0000_0101 },
            Needs = X0AndX3, Return = Results(0),
        },
        new("RETURN_FROM_RPC, still running", 0x3200_0003)
        {
            Options = OneCall,
            Before = SuspendCall,
            Call = new Dictionary<int, ulong> { [3] = 0x101 },
            Needs = X0AndX3,
            Return = new Dictionary<int, ulong> { [0] = 0xffff_0004, [3] = 0x201 },
        },

        new("CALL_WITH_ARG", 0x3200_0004)
        {
            Before = WriteCancel, Call = AtMessagePage, Needs = X0ToX2, Return = Results(0),
        },
        new("CALL_WITH_ARG, EBADADDR", 0x3200_0004) { Call = AtUnalignedAddress, Needs = X0ToX2, Return = Results(4) },
        new("CALL_WITH_ARG, EBADCMD", 0x3200_0004)
        {
            Before = WriteUnknownCommand, Call = AtMessagePage, Needs = X0ToX2, Return = Results(5),
        },
        new("CALL_WITH_ARG, ETHREAD_LIMIT", 0x3200_0004)
        {
            Options = OneCall, Before = SuspendCall, Call = AtMessagePage, Needs = X0ToX2, Return = Results(1),
        },
        new("CALL_WITH_ARG, FOREIGN_INTR", 0x3200_0004)
        {
            Options = OneCall,
            Before = WriteLongInvocation,
            Call = AtMessagePage,
            Needs = X0ToX2,

            // The slot has had one call (opening the session), which raised the generation to 1.
            Return = new Dictionary<int, ulong> { [0] = 0xffff_0004, [3] = 0x201 },
        },
        new("CALL_WITH_RPC_ARG", 0x3200_0012)
        {
            Before = WriteCancel, Call = AtMessagePage, Needs = X0ToX2, Return = Results(0),
        },
        new("CALL_WITH_RPC_ARG, EBADADDR", 0x3200_0012)
        {
            Call = AtUnalignedAddress, Needs = X0ToX2, Return = Results(4),
        },
        new("CALL_WITH_RPC_ARG, EBADCMD", 0x3200_0012)
        {
            Before = WriteUnknownCommand, Call = AtMessagePage, Needs = X0ToX2, Return = Results(5),
        },
        new("CALL_WITH_REGD_ARG", 0x3200_0013)
        {
            Before = WriteRegisteredCancel, Call = InRegisteredPage, Needs = X0ToX3, Return = Results(0),
        },
        new("CALL_WITH_REGD_ARG, unknown cookie", 0x3200_0013)
        {
            Call = InUnknownBuffer, Needs = X0ToX3, Return = Results(4),
        },

        // Real OP-TEE: an unknown fast call is "unknown function", an unknown yielding call a "bad command".
        new("unknown fast call", 0xb200_0055) { Return = Results(0xffff_ffff) },
        new("unknown fast call of owner 63", 0xbf00_ff02) { Return = Results(0xffff_ffff) },
        new("ENABLE_ASYNC_NOTIF, not offered", 0xb200_0010) { Return = Results(0xffff_ffff) },
        new("VM_CREATED, for hypervisors", 0xb200_000d) { Return = Results(0xffff_ffff) },
        new("unknown yielding call", 0x3200_0077) { Return = Results(5) },
    ];

    private static Dictionary<int, ulong> Results(params ulong[] values) =>
        values.Select((value, index) => (value, index)).ToDictionary(pair => pair.index, pair => pair.value);

    private static void WriteCancel(GuestBench bench) =>
        bench.Driver.WriteMessage(MessagePage, new GuestMessage(OpTeeMessage.CommandCancel));

    private static void WriteUnknownCommand(GuestBench bench) =>
        bench.Driver.WriteMessage(MessagePage, new GuestMessage(0x99));

    private static void WriteRegisteredCancel(GuestBench bench)
    {
        _ = bench.Driver.RegisterMessagePage();
        bench.Driver.WriteMessage(bench.Driver.MessagePage, new GuestMessage(OpTeeMessage.CommandCancel));
    }

    private static void WriteLongInvocation(GuestBench bench)
    {
        bench.Backend.OnInvoke = _ => new ValueTask<TeeResult>(new TaskCompletionSource<TeeResult>().Task);
        uint session = bench.Open();
        bench.Driver.WriteMessage(MessagePage, GuestBench.Invocation(session, 0));

        // What is not ended here ends with the guest.
        bench.Backend.OnCancel = _ => { };
    }

    private static void SuspendCall(GuestBench bench)
    {
        bench.Backend.OnOpen = _ => new ValueTask<TeeResult>(new TaskCompletionSource<TeeResult>().Task);
        _ = bench.Start(FakeDriver.Opening(GuestBench.Application, default, 0));
    }

    private static void EndSuspendedCall(GuestBench bench)
    {
        TaskCompletionSource<TeeResult> end = new();
        bench.Backend.OnOpen = _ => new ValueTask<TeeResult>(end.Task);
        _ = bench.Start(FakeDriver.Opening(GuestBench.Application, default, 0));
        end.SetResult(TeeResult.FromTee(TeeReturnCode.ItemNotFound));
    }
}
