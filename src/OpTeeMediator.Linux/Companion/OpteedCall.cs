namespace OpTeeMediator.Linux.Companion;

/// <summary>The SMCs by which OP-TEE gives a core back to the monitor at EL3, whose place this process takes.</summary>
/// <remarks>
/// <code>
/// 0xbe00_0000 ENTRY_DONE        X1 the vector table
/// 0xbe00_0001 ON_DONE           X1 0
/// 0xbe00_0005 CALL_DONE         X1–X4 what becomes the normal world's X0–X3
/// 0xbe00_0006 FIQ_DONE
/// </code>
/// Fast calls of owner 62 ("trusted OS", SMC32). Source: OP-TEE's <c>teesmc_opteed.h</c>.
/// </remarks>
internal static class OpteedCall
{
    /// <summary>The owning entity of all of them.</summary>
    internal const int Owner = 62;

    /// <summary>TEESMC_OPTEED_RETURN_ENTRY_DONE: OP-TEE has started.</summary>
    internal const uint EntryDone = 0xbe00_0000;

    /// <summary>TEESMC_OPTEED_RETURN_ON_DONE: a further core has started.</summary>
    internal const uint OnDone = 0xbe00_0001;

    /// <summary>TEESMC_OPTEED_RETURN_CALL_DONE: the normal world's call is answered.</summary>
    internal const uint CallDone = 0xbe00_0005;

    /// <summary>TEESMC_OPTEED_RETURN_FIQ_DONE: a native interrupt is served.</summary>
    internal const uint InterruptDone = 0xbe00_0006;

    /// <summary>A number of this owner that OP-TEE does not use: by it our own instructions give a core back.</summary>
    internal const uint Unused = 0xbe00_ffff;
}
