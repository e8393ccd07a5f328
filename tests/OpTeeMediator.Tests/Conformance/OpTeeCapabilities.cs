namespace OpTeeMediator.Tests.Conformance;

/// <summary>What the secure world can do, by the names of OP-TEE's <c>optee_smc.h</c> (OPTEE_SMC_SEC_CAP_*).</summary>
[Flags]
internal enum OpTeeCapabilities : uint
{
    HAVE_RESERVED_SHM = 1 << 0,
    UNREGISTERED_SHM = 1 << 1,
    DYNAMIC_SHM = 1 << 2,
    VIRTUALIZATION = 1 << 3,
    MEMREF_NULL = 1 << 4,
    ASYNC_NOTIF = 1 << 5,
    RPC_ARG = 1 << 6,
    RPMB_PROBE = 1 << 7,
}
