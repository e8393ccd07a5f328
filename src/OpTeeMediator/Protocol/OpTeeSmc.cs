namespace OpTeeMediator.Protocol;

/// <summary>OP-TEE's SMC interface: function identifiers, return codes and capabilities.</summary>
/// <remarks>Source, in this order: OP-TEE's <c>optee_smc.h</c>; each summary names the upstream constant. The register
/// tables use OP-TEE's names: a0–a7 are W0–W7 (32 bits each). "kept" means that the mediator does not change the
/// register. a7 carries a VM's number from a hypervisor to OP-TEE; the guest's value is ignored.</remarks>
public static class OpTeeSmc
{
    /// <summary>OPTEE_SMC_OWNER_TRUSTED_OS: owning entity of the calls to the trusted OS.</summary>
    public const int OwnerTrustedOs = 50;

    /// <summary>OPTEE_SMC_OWNER_TRUSTED_OS_API: owning entity of the calls that identify the trusted OS.</summary>
    public const int OwnerTrustedOsApi = 63;

    /// <summary>OPTEE_SMC_CALLS_COUNT: how many fast calls there are.</summary>
    /// <remarks><code>
    /// call    a1–a7 not used
    /// return  a0 number of calls                a1–a7 kept
    /// </code></remarks>
    public const uint CallsCount = 0xbf00_ff00;

    /// <summary>OPTEE_SMC_CALLS_UID: the UID of this interface, 384fb3e0-e7f8-11e3-af63-0002a5d5c51b.</summary>
    /// <remarks><code>
    /// call    a1–a7 not used
    /// return  a0–a3 the UID                     a4–a7 kept
    /// </code></remarks>
    public const uint CallsUid = 0xbf00_ff01;

    /// <summary>OPTEE_SMC_CALLS_REVISION: the revision of this interface, 2.0.</summary>
    /// <remarks><code>
    /// call    a1–a7 not used
    /// return  a0 major (2), a1 minor (0)        a2–a7 kept
    /// </code></remarks>
    public const uint CallsRevision = 0xbf00_ff03;

    /// <summary>OPTEE_SMC_CALL_GET_OS_UUID: the UUID of the trusted OS, 486178e0-e7f8-11e3-bc5e-0002a5d5c51b.</summary>
    /// <remarks><code>
    /// call    a1–a7 not used
    /// return  a0–a3 the UUID                    a4–a7 kept
    /// </code></remarks>
    public const uint GetOsUuid = 0xb200_0000;

    /// <summary>OPTEE_SMC_CALL_GET_OS_REVISION: the revision of the trusted OS.</summary>
    /// <remarks><code>
    /// call    a1–a7 not used
    /// return  a0 major, a1 minor, a2 build identifier (0: not given)    a3–a7 kept
    /// </code></remarks>
    public const uint GetOsRevision = 0xb200_0001;

    /// <summary>OPTEE_SMC_CALL_RETURN_FROM_RPC: goes on with a call that returned an RPC.</summary>
    /// <remarks><code>
    /// call    a3 the resume information of that return; after RPC ALLOC a1:a2 address and a4:a5 cookie
    /// return  as CALL_WITH_ARG; a0 ERESUME if no call waits for this resume information
    /// </code></remarks>
    public const uint ReturnFromRpc = 0x3200_0003;

    /// <summary>OPTEE_SMC_CALL_WITH_ARG: a message at a guest address.</summary>
    /// <remarks><code>
    /// call    a1:a2 guest address of the message (page-aligned, or 8-byte aligned in reserved shared memory)
    ///         a3 cache setting (not used)       a4–a7 not used
    /// return  a0 OK: done, results in the message; EBADADDR; EBADCMD; ENOMEM    a1–a7 kept
    ///         a0 ETHREAD_LIMIT                  a1–a7 kept
    ///         a0 RPC, a1–a2 its parameters, a3 resume information       a4–a7 kept
    /// </code></remarks>
    public const uint CallWithArgument = 0x3200_0004;

    /// <summary>OPTEE_SMC_GET_SHM_CONFIG: the reserved shared memory.</summary>
    /// <remarks><code>
    /// call    a1–a7 not used
    /// return  a0 OK, a1 address, a2 size in bytes, a3 1 (cached)        a4–a7 kept
    ///         a0 ENOTAVAIL                      a1–a7 kept
    /// </code></remarks>
    public const uint GetShmConfig = 0xb200_0007;

    /// <summary>OPTEE_SMC_EXCHANGE_CAPABILITIES: the guest's driver starts; both sides say what they can.</summary>
    /// <remarks><code>
    /// call    a1 the guest's capabilities (bit 0: one processor)        a2–a7 not used
    /// return  a0 OK, a1 capabilities, a2 highest notification value, a3 number of RPC parameters     a4–a7 kept
    ///         a0 ENOTAVAIL (unknown capability)                         a1–a7 kept
    /// </code></remarks>
    public const uint ExchangeCapabilities = 0xb200_0009;

    /// <summary>OPTEE_SMC_DISABLE_SHM_CACHE: the TEE gives back a cached buffer, one a call.</summary>
    /// <remarks><code>
    /// call    a1–a7 not used
    /// return  a0 OK, a1:a2 cookie of the buffer                         a3–a7 kept
    ///         a0 ENOTAVAIL (none left), EBUSY (calls are in flight)     a1–a7 kept
    /// </code></remarks>
    public const uint DisableShmCache = 0xb200_000a;

    /// <summary>OPTEE_SMC_ENABLE_SHM_CACHE: the TEE may cache buffers.</summary>
    /// <remarks><code>
    /// call    a1–a7 not used
    /// return  a0 OK, EBUSY (calls are in flight)                        a1–a7 kept
    /// </code></remarks>
    public const uint EnableShmCache = 0xb200_000b;

    /// <summary>OPTEE_SMC_VM_CREATED: a hypervisor announces a VM to a virtualized OP-TEE. Not for guests.</summary>
    /// <remarks><code>
    /// call    a1 the VM's number, a7 0 (the hypervisor)                 a2–a6 not used
    /// return  a0 OK                                                     a1–a7 kept
    ///         a0 ENOTAVAIL (no room for another VM)                     a1–a7 kept
    /// </code></remarks>
    public const uint VmCreated = 0xb200_000d;

    /// <summary>OPTEE_SMC_VM_DESTROYED: a hypervisor says that a VM is gone. No guest may make this call.</summary>
    /// <remarks><code>
    /// call    a1 the VM's number, a7 0 (the hypervisor)                 a2–a6 not used
    /// return  a0 OK, for unknown VMs too                                a1–a7 kept
    /// </code></remarks>
    public const uint VmDestroyed = 0xb200_000e;

    /// <summary>OPTEE_SMC_GET_THREAD_COUNT: how many yielding calls can be in flight.</summary>
    /// <remarks><code>
    /// call    a1–a7 not used
    /// return  a0 OK, a1 number                  a2–a7 kept
    /// </code></remarks>
    public const uint GetThreadCount = 0xb200_000f;

    /// <summary>OPTEE_SMC_ENABLE_ASYNC_NOTIF: the guest is ready for notifications.</summary>
    /// <remarks><code>
    /// call    a1–a7 not used
    /// return  a0 OK                             a1–a7 kept
    ///         a0 UNKNOWN_FUNCTION (the VMM has given no interrupt)      a1–a7 kept
    /// </code></remarks>
    public const uint EnableAsyncNotification = 0xb200_0010;

    /// <summary>OPTEE_SMC_GET_ASYNC_NOTIF_VALUE: takes the next pending notification.</summary>
    /// <remarks><code>
    /// call    a1–a7 not used
    /// return  a0 OK, a1 value, a2 bit 0: the value is valid, bit 1: more are pending                a3–a7 kept
    ///         a0 UNKNOWN_FUNCTION (the VMM has given no interrupt)      a1–a7 kept
    /// </code></remarks>
    public const uint GetAsyncNotificationValue = 0xb200_0011;

    /// <summary>In a2 of <see cref="GetAsyncNotificationValue"/>: the value is valid.</summary>
    public const uint NotificationValueIsValid = 1 << 0;

    /// <summary>In a2 of <see cref="GetAsyncNotificationValue"/>: more values are pending.</summary>
    public const uint NotificationsArePending = 1 << 1;

    /// <summary>OPTEE_SMC_CALL_WITH_RPC_ARG: as <see cref="CallWithArgument"/>, with room for RPC messages.</summary>
    public const uint CallWithRpcArgument = 0x3200_0012;

    /// <summary>OPTEE_SMC_CALL_WITH_REGD_ARG: a message in registered shared memory, with room for an RPC.</summary>
    /// <remarks><code>
    /// call    a1:a2 cookie of the shared memory, a3 offset of the message in it (8-byte aligned)     a4–a7 not used
    /// return  as CALL_WITH_ARG
    /// </code></remarks>
    public const uint CallWithRegisteredArgument = 0x3200_0013;

    /// <summary>OPTEE_SMC_GET_PROTMEM_CONFIG: the protected memory, for drivers that have seen
    /// <see cref="OpTeeCapabilities.ProtectedMemory"/>.</summary>
    /// <remarks><code>
    /// call    a1–a7 not used
    /// return  a0 ENOTAVAIL                      a1–a7 kept
    /// </code></remarks>
    public const uint GetProtectedMemoryConfig = 0xb200_0014;

    /// <summary>OPTEE_SMC_RETURN_OK.</summary>
    public const uint ReturnOk = 0;

    /// <summary>OPTEE_SMC_RETURN_ETHREAD_LIMIT: all call slots are taken; wait until a call ends.</summary>
    public const uint ReturnThreadLimit = 1;

    /// <summary>OPTEE_SMC_RETURN_EBUSY.</summary>
    public const uint ReturnBusy = 2;

    /// <summary>OPTEE_SMC_RETURN_ERESUME: the resume information is of no waiting call.</summary>
    public const uint ReturnResume = 3;

    /// <summary>OPTEE_SMC_RETURN_EBADADDR: the message cannot be at this address.</summary>
    public const uint ReturnBadAddress = 4;

    /// <summary>OPTEE_SMC_RETURN_EBADCMD: unknown yielding call or unknown message command.</summary>
    public const uint ReturnBadCommand = 5;

    /// <summary>OPTEE_SMC_RETURN_ENOMEM.</summary>
    public const uint ReturnNoMemory = 6;

    /// <summary>OPTEE_SMC_RETURN_ENOTAVAIL.</summary>
    public const uint ReturnNotAvailable = 7;

    /// <summary>OPTEE_SMC_RETURN_UNKNOWN_FUNCTION: unknown fast call.</summary>
    public const uint ReturnUnknownFunction = 0xffff_ffff;

    /// <summary>OPTEE_SMC_RETURN_RPC_ALLOC: the guest shall allocate memory for an RPC message.</summary>
    /// <remarks><code>
    /// return  a0 this value, a1 size in bytes, a3 resume information    a2, a4–a7 kept
    /// resume  a1:a2 guest address (0: no memory), a4:a5 cookie
    /// </code></remarks>
    public const uint ReturnRpcAllocate = 0xffff_0000;

    /// <summary>OPTEE_SMC_RETURN_RPC_FREE: the guest may free memory that it allocated so.</summary>
    /// <remarks><code>
    /// return  a0 this value, a1:a2 cookie, a3 resume information        a4–a7 kept
    /// </code></remarks>
    public const uint ReturnRpcFree = 0xffff_0002;

    /// <summary>OPTEE_SMC_RETURN_RPC_CMD: the guest shall do what the RPC message says.</summary>
    /// <remarks><code>
    /// return  a0 this value, a1:a2 cookie of the message's memory (0 after the call's own message),
    ///         a3 resume information                                     a4–a7 kept
    /// </code></remarks>
    public const uint ReturnRpcCommand = 0xffff_0005;

    /// <summary>OPTEE_SMC_RETURN_RPC_FOREIGN_INTR: the guest shall take its interrupts, then resume the call.</summary>
    /// <remarks><code>
    /// return  a0 this value, a3 resume information      a1–a2, a4–a7 kept
    /// </code></remarks>
    public const uint ReturnRpcForeignInterrupt = 0xffff_0004;
}
