namespace OpTeeMediator.Forwarding;

/// <summary>What OP-TEE has asked for in a call, and so what a resume of the call means.</summary>
internal enum ForwardedRpcStage
{
    /// <summary>Nothing that has an answer: the guest takes its interrupts.</summary>
    None,

    /// <summary>RPC ALLOC: the guest offers a buffer for RPC messages in X1, X2, X4 and X5.</summary>
    Allocating,

    /// <summary>RPC FREE: the guest frees a buffer for RPC messages; OP-TEE unmaps it only after the resume.</summary>
    Freeing,

    /// <summary>RPC CMD: the guest answers in its copy of the RPC message.</summary>
    Command,

    /// <summary>RPC CMD that the guest did not get: OP-TEE finds the error that it wrote itself.</summary>
    Undeliverable,
}
