namespace OpTeeMediator.Tests.Conformance;

/// <summary>The SMCs that the guest makes, by the names of OP-TEE's <c>optee_smc.h</c>.</summary>
/// <remarks>
/// The guest has numbers of its own, taken from the header: with the library's numbers it would only prove that the
/// library agrees with itself.
/// </remarks>
internal enum OpTeeFunction : uint
{
    RETURN_FROM_RPC = 0x3200_0003,
    CALL_WITH_RPC_ARG = 0x3200_0012,
    CALL_WITH_REGD_ARG = 0x3200_0013,
    GET_OS_REVISION = 0xb200_0001,
    EXCHANGE_CAPABILITIES = 0xb200_0009,
    DISABLE_SHM_CACHE = 0xb200_000a,
    GET_THREAD_COUNT = 0xb200_000f,
    CALLS_UID = 0xbf00_ff01,
    CALLS_REVISION = 0xbf00_ff03,
}
