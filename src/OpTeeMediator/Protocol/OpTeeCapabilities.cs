namespace OpTeeMediator.Protocol;

/// <summary>What a TEE tells the guest it can do, at EXCHANGE_CAPABILITIES.</summary>
/// <remarks>Source: OP-TEE's <c>optee_smc.h</c> (OPTEE_SMC_SEC_CAP_*). Only those that this library implements have a name.</remarks>
[Flags]
public enum OpTeeCapabilities
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>OPTEE_SMC_SEC_CAP_HAVE_RESERVED_SHM: a region of RAM is set aside for sharing.</summary>
    ReservedSharedMemory = 1 << 0,

    /// <summary>OPTEE_SMC_SEC_CAP_DYNAMIC_SHM: the guest may register any of its pages.</summary>
    DynamicSharedMemory = 1 << 2,

    /// <summary>OPTEE_SMC_SEC_CAP_MEMREF_NULL: NULL memory references are understood.</summary>
    NullMemoryReference = 1 << 4,

    /// <summary>OPTEE_SMC_SEC_CAP_ASYNC_NOTIF: the TEE can interrupt the guest.</summary>
    AsynchronousNotifications = 1 << 5,

    /// <summary>OPTEE_SMC_SEC_CAP_RPC_ARG: the guest supplies room for RPC messages with each call.</summary>
    RpcArgument = 1 << 6,
}
