namespace OpTeeMediator.Tests.Conformance;

/// <summary>What the secure world can do, by the names of OP-TEE's <c>optee_smc.h</c> (OPTEE_SMC_SEC_CAP_*).</summary>
[Flags]
internal enum OpTeeCapabilities : uint
{
    DYNAMIC_SHM = 1 << 2,
    MEMREF_NULL = 1 << 4,
    RPC_ARG = 1 << 6,
}
