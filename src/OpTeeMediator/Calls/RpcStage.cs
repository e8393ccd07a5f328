namespace OpTeeMediator.Calls;

/// <summary>What a suspended call waits for from the guest.</summary>
internal enum RpcStage
{
    /// <summary>Nothing: it was interrupted, and goes on waiting for what it waited for.</summary>
    None,

    /// <summary>RPC ALLOC: memory for the RPC message.</summary>
    Allocating,

    /// <summary>RPC FREE: giving back what RPC ALLOC was answered with, which cannot be used.</summary>
    RefusingMemory,

    /// <summary>RPC CMD: the backend's call.</summary>
    Calling,

    /// <summary>RPC CMD: SHM_FREE of memory that the guest offered and that cannot be used.</summary>
    Declining,

    /// <summary>RPC CMD: a notification that says that the backend has finished.</summary>
    Sleeping,

    /// <summary>RPC FREE or RPC CMD: giving back what the call had from the guest; the operation is over.</summary>
    Concluding,
}
