namespace OpTeeMediator.Backends;

/// <summary>
/// With whom in the guest memory is shared that a backend asks for; the values are OP-TEE's OPTEE_RPC_SHM_TYPE_*.
/// </summary>
public enum GuestMemoryKind
{
    /// <summary>
    /// OPTEE_RPC_SHM_TYPE_APPL: with the tee-supplicant; its requests need such memory. Waits until a supplicant runs.
    /// </summary>
    Supplicant = 0,

    /// <summary>OPTEE_RPC_SHM_TYPE_KERNEL: with the guest's kernel alone.</summary>
    Kernel = 1,
}
