namespace OpTeeMediator.SharedMemory;

/// <summary>Who made a buffer of guest memory known, and for what.</summary>
internal enum BufferRole
{
    /// <summary>The guest, by REGISTER_SHM: its calls refer to it.</summary>
    Registered,

    /// <summary>The guest, in answer to the TEE's RPC SHM_ALLOC: only the TEE refers to it.</summary>
    RpcPayload,

    /// <summary>The guest, in answer to the TEE's RPC ALLOC: for RPC messages.</summary>
    RpcMessage,
}
