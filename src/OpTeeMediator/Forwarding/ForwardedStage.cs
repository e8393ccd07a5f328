namespace OpTeeMediator.Forwarding;

/// <summary>What the guest is asked for while a call of it is suspended.</summary>
internal enum ForwardedStage
{
    /// <summary>Nothing that has an answer: its interrupts, or something of a later OP-TEE.</summary>
    None,

    /// <summary>RPC ALLOC: a buffer for RPC messages.</summary>
    Allocate,

    /// <summary>RPC CMD: what the RPC message says.</summary>
    Command,

    /// <summary>RPC CMD that could not be delivered: the guest only takes its interrupts.</summary>
    Undeliverable,
}
