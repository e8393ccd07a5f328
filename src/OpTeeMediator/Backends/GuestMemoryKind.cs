namespace OpTeeMediator.Backends;

/// <summary>Who shares the memory that a backend asks the guest for: OP-TEE's OPTEE_RPC_SHM_TYPE_*.</summary>
public enum GuestMemoryKind
{
    /// <summary>OPTEE_RPC_SHM_TYPE_APPL: the tee-supplicant, for its requests. Waits until one runs.</summary>
    Supplicant = 0,

    /// <summary>OPTEE_RPC_SHM_TYPE_KERNEL: with the guest's kernel alone.</summary>
    Kernel = 1,
}
