namespace OpTeeMediator.Linux.LinuxTee;

/// <summary>Numbers of the host's TEE driver (linux/tee.h), in the header's order.</summary>
internal static class TeeIoctl
{
    /// <summary>TEE_GEN_CAP_GP: the TEE speaks GlobalPlatform's interface.</summary>
    internal const uint GeneralGlobalPlatform = 1 << 0;

    /// <summary>TEE_GEN_CAP_PRIVILEGED: the device is the supplicant's.</summary>
    internal const uint GeneralPrivileged = 1 << 1;

    /// <summary>TEE_GEN_CAP_REG_MEM: memory of the process can be registered.</summary>
    internal const uint GeneralRegisterMemory = 1 << 2;

    /// <summary>TEE_GEN_CAP_MEMREF_NULL: a reference may be NULL.</summary>
    internal const uint GeneralNullReference = 1 << 3;

    /// <summary>TEE_MEMREF_NULL: the identifier of no memory.</summary>
    internal const ulong NullReference = ulong.MaxValue;

    /// <summary>TEE_IMPL_ID_OPTEE.</summary>
    internal const uint ImplementationOpTee = 1;

    internal const uint TEE_IOC_VERSION = Read | 12u << SizeShift | Type | 0;
    internal const uint TEE_IOC_OPEN_SESSION = Read | 16u << SizeShift | Type | 2;
    internal const uint TEE_IOC_INVOKE = Read | 16u << SizeShift | Type | 3;
    internal const uint TEE_IOC_CANCEL = Read | 8u << SizeShift | Type | 4;
    internal const uint TEE_IOC_CLOSE_SESSION = Read | 4u << SizeShift | Type | 5;
    internal const uint TEE_IOC_SHM_REGISTER = Read | Write | 24u << SizeShift | Type | 9;

    // _IOR, _IOW, TEE_IOC_MAGIC.
    private const uint Write = 1u << 30;
    private const uint Read = 2u << 30;
    private const uint Type = 0xa4 << 8;
    private const int SizeShift = 16;
}
