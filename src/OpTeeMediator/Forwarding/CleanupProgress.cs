namespace OpTeeMediator.Forwarding;

/// <summary>What one step of the cleanup after a driver has come to.</summary>
internal enum CleanupProgress
{
    /// <summary>OP-TEE has nothing of the driver any more.</summary>
    Done,

    /// <summary>There is more to do.</summary>
    Advanced,

    /// <summary>There is more to do, after the guest or the host has taken an interrupt.</summary>
    Interrupted,

    /// <summary>OP-TEE does not do what is asked of it, or its state is unknown: only destroying the VM helps.</summary>
    Failed,
}
