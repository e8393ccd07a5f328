namespace OpTeeMediator.Protocol;

/// <summary>The commands of RPC messages, by which the TEE asks the guest.</summary>
/// <remarks>
/// Source: OP-TEE's <c>optee_rpc_cmd.h</c>; each summary names the upstream constant. GET_TIME, NOTIFICATION, SUSPEND, SHM_ALLOC and SHM_FREE are served by the
/// guest's kernel (<see cref="Backends.GuestServices"/> has methods for them), the others by its tee-supplicant.
/// </remarks>
public static class OpTeeRpc
{
    /// <summary>OPTEE_RPC_CMD_LOAD_TA: value[0].a–b the UUID, memref[1] receives the application; NULL asks for its size.</summary>
    public const uint LoadApplication = 0;

    /// <summary>OPTEE_RPC_CMD_RPMB: memref[0] frames to the device, memref[1] frames from it.</summary>
    public const uint Rpmb = 1;

    /// <summary>OPTEE_RPC_CMD_FS: a file operation of the supplicant; value[0].a says which.</summary>
    public const uint FileSystem = 2;

    /// <summary>OPTEE_RPC_CMD_GET_TIME: value[0].a seconds since 1970, value[0].b nanoseconds.</summary>
    public const uint GetTime = 3;

    /// <summary>OPTEE_RPC_CMD_NOTIFICATION: value[0].a wait (0) or send (1), value[0].b the notification, value[0].c a time-out in ms.</summary>
    public const uint Notification = 4;

    /// <summary>OPTEE_RPC_CMD_SUSPEND: value[0].a how long, in ms.</summary>
    public const uint Suspend = 5;

    /// <summary>OPTEE_RPC_CMD_SHM_ALLOC: value[0].a kind, .b size, .c alignment; the answer is a memref.</summary>
    public const uint AllocateSharedMemory = 6;

    /// <summary>OPTEE_RPC_CMD_SHM_FREE: value[0].a kind, .b cookie.</summary>
    public const uint FreeSharedMemory = 7;

    /// <summary>OPTEE_RPC_CMD_SOCKET: a socket operation of the supplicant.</summary>
    public const uint Socket = 10;

    /// <summary>OPTEE_RPC_CMD_SUPP_PLUGIN: a call to a plug-in of the supplicant.</summary>
    public const uint Plugin = 12;

    /// <summary>OPTEE_RPC_NOTIFICATION_WAIT.</summary>
    public const uint NotificationWait = 0;

    /// <summary>OPTEE_RPC_NOTIFICATION_SEND.</summary>
    public const uint NotificationSend = 1;
}
