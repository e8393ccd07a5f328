namespace OpTeeMediator.Protocol;

/// <summary>What a TEE tells the guest it can do, at EXCHANGE_CAPABILITIES.</summary>
/// <remarks>Source: OP-TEE's <c>optee_smc.h</c> (OPTEE_SMC_SEC_CAP_*).</remarks>
[Flags]
public enum OpTeeCapabilities
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>OPTEE_SMC_SEC_CAP_HAVE_RESERVED_SHM: a region of RAM is set aside for sharing.</summary>
    ReservedSharedMemory = 1 << 0,

    /// <summary>OPTEE_SMC_SEC_CAP_UNREGISTERED_SHM: memory is not registered. Never offered, nor by OP-TEE.</summary>
    UnregisteredSharedMemory = 1 << 1,

    /// <summary>OPTEE_SMC_SEC_CAP_DYNAMIC_SHM: the guest may register any of its pages.</summary>
    DynamicSharedMemory = 1 << 2,

    /// <summary>OPTEE_SMC_SEC_CAP_VIRTUALIZATION: the TEE serves several VMs. Never offered to a guest.</summary>
    Virtualization = 1 << 3,

    /// <summary>OPTEE_SMC_SEC_CAP_MEMREF_NULL: NULL memory references are understood.</summary>
    NullMemoryReference = 1 << 4,

    /// <summary>OPTEE_SMC_SEC_CAP_ASYNC_NOTIF: the TEE can interrupt the guest.</summary>
    AsynchronousNotifications = 1 << 5,

    /// <summary>OPTEE_SMC_SEC_CAP_RPC_ARG: the guest supplies room for RPC messages with each call.</summary>
    RpcArgument = 1 << 6,

    /// <summary>OPTEE_SMC_SEC_CAP_RPMB_PROBE: the TEE looks for the guest's RPMB device by itself
    /// (<see cref="OpTeeRpc.RpmbProbeReset"/>), without its supplicant.</summary>
    RpmbProbe = 1 << 7,

    /// <summary>OPTEE_SMC_SEC_CAP_PROTMEM: the TEE has protected memory. Never offered: it is physical memory that
    /// hardware keeps from the normal world.</summary>
    ProtectedMemory = 1 << 8,

    /// <summary>OPTEE_SMC_SEC_CAP_DYNAMIC_PROTMEM: the TEE protects memory that it is lent. Never offered.</summary>
    DynamicProtectedMemory = 1 << 9,
}
