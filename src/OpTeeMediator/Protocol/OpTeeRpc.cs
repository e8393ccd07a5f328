namespace OpTeeMediator.Protocol;

/// <summary>The commands of RPC messages, by which the TEE asks the guest.</summary>
/// <remarks>Source: OP-TEE's <c>optee_rpc_cmd.h</c>; each summary names the upstream constant. GET_TIME, NOTIFICATION,
/// SUSPEND, SHM_ALLOC, SHM_FREE, I2C_TRANSFER and the RPMB commands from 22 on are served by the guest's kernel
/// (<see cref="Backends.GuestServices"/> has methods for the first five), the others by its tee-supplicant.</remarks>
public static class OpTeeRpc
{
    /// <summary>OPTEE_RPC_CMD_LOAD_TA: value[0].a–b the UUID, memref[1] the application, or NULL.</summary>
    public const uint LoadApplication = 0;

    /// <summary>OPTEE_RPC_CMD_RPMB: memref[0] frames to the device, memref[1] frames from it.</summary>
    public const uint Rpmb = 1;

    /// <summary>OPTEE_RPC_CMD_FS: a file operation of the supplicant; value[0].a says which.</summary>
    public const uint FileSystem = 2;

    /// <summary>OPTEE_RPC_CMD_GET_TIME: value[0].a seconds since 1970, value[0].b nanoseconds.</summary>
    public const uint GetTime = 3;

    /// <summary>OPTEE_RPC_CMD_NOTIFICATION: value[0].a wait (0) or send (1), value[0].b the notification,
    /// value[0].c a time-out in ms.</summary>
    public const uint Notification = 4;

    /// <summary>OPTEE_RPC_CMD_SUSPEND: value[0].a how long, in ms.</summary>
    public const uint Suspend = 5;

    /// <summary>OPTEE_RPC_CMD_SHM_ALLOC: value[0].a kind, .b size, .c alignment; the answer is a memref.</summary>
    public const uint AllocateSharedMemory = 6;

    /// <summary>OPTEE_RPC_CMD_SHM_FREE: value[0].a kind, .b cookie.</summary>
    public const uint FreeSharedMemory = 7;

    /// <summary>OPTEE_RPC_CMD_GPROF: value[0].a the file, memref[1] the UUID, memref[2] a profile.</summary>
    public const uint Profile = 9;

    /// <summary>OPTEE_RPC_CMD_SOCKET: a socket operation of the supplicant.</summary>
    public const uint Socket = 10;

    /// <summary>OPTEE_RPC_CMD_FTRACE: value[0].a the file, memref[1] the UUID, memref[2] a function graph.</summary>
    public const uint FunctionTrace = 11;

    /// <summary>OPTEE_RPC_CMD_SUPP_PLUGIN: a call to a plug-in of the supplicant.</summary>
    public const uint Plugin = 12;

    /// <summary>OPTEE_RPC_CMD_I2C_TRANSFER: value[0] mode, bus and chip, value[1].a flags, memref[2] the data,
    /// value[3].a the bytes that were transferred.</summary>
    public const uint I2cTransfer = 21;

    /// <summary>OPTEE_RPC_CMD_RPMB_PROBE_RESET: begins the search for RPMB devices again; value[0].a the kind of shared
    /// memory for their frames.</summary>
    public const uint RpmbProbeReset = 22;

    /// <summary>OPTEE_RPC_CMD_RPMB_PROBE_NEXT: value[0] the next device, memref[1] its CID.</summary>
    public const uint RpmbProbeNext = 23;

    /// <summary>OPTEE_RPC_CMD_RPMB_FRAMES: memref[0] frames to the device, memref[1] frames from it.</summary>
    public const uint RpmbFrames = 24;

    /// <summary>OPTEE_RPC_NOTIFICATION_WAIT.</summary>
    public const uint NotificationWait = 0;

    /// <summary>OPTEE_RPC_NOTIFICATION_SEND.</summary>
    public const uint NotificationSend = 1;

    /// <summary>OPTEE_RPC_FS_OPEN: memref[1] the name, value[2].a the descriptor.</summary>
    public const uint FileOpen = 0;

    /// <summary>OPTEE_RPC_FS_CREATE: memref[1] the name, value[2].a the descriptor.</summary>
    public const uint FileCreate = 1;

    /// <summary>OPTEE_RPC_FS_CLOSE: value[0].b the descriptor.</summary>
    public const uint FileClose = 2;

    /// <summary>OPTEE_RPC_FS_READ: value[0].b the descriptor, .c where in the file; memref[1] takes the data.</summary>
    public const uint FileRead = 3;

    /// <summary>OPTEE_RPC_FS_WRITE: value[0].b the descriptor, .c where in the file; memref[1] the data.</summary>
    public const uint FileWrite = 4;

    /// <summary>OPTEE_RPC_FS_TRUNCATE: value[0].b the descriptor, .c the new length.</summary>
    public const uint FileTruncate = 5;

    /// <summary>OPTEE_RPC_FS_REMOVE: memref[1] the name.</summary>
    public const uint FileRemove = 6;

    /// <summary>OPTEE_RPC_FS_RENAME: value[0].b whether to replace, memref[1] the old name, [2] the new.</summary>
    public const uint FileRename = 7;

    /// <summary>OPTEE_RPC_FS_OPENDIR: memref[1] the name, value[2].a the handle.</summary>
    public const uint DirectoryOpen = 8;

    /// <summary>OPTEE_RPC_FS_CLOSEDIR: value[0].b the handle.</summary>
    public const uint DirectoryClose = 9;

    /// <summary>OPTEE_RPC_FS_READDIR: value[0].b the handle; memref[1] the next name, zero byte included.</summary>
    public const uint DirectoryRead = 10;
}
