namespace OpTeeMediator.Forwarding;

/// <summary>Who may touch a <see cref="ForwardedCall"/>.</summary>
internal enum ForwardedCallState
{
    /// <summary>Nobody: the next call takes it.</summary>
    Free,

    /// <summary>The vCPU that has moved it here, and OP-TEE on behalf of this vCPU.</summary>
    Busy,

    /// <summary>The guest, which serves an RPC or its interrupts and then resumes the call.</summary>
    Suspended,

    /// <summary>Nobody, ever: the monitor failed in the call, and a thread of OP-TEE may be at work on it.</summary>
    Failed,
}
