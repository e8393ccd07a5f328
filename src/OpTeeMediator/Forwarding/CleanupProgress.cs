namespace OpTeeMediator.Forwarding;

/// <summary>The result of one step of <see cref="DriverCleanup"/>.</summary>
internal enum CleanupProgress
{
    /// <summary>OP-TEE has nothing of the driver any more.</summary>
    Done,

    /// <summary>There is more to do.</summary>
    Advanced,

    /// <summary>There is more to do, after the guest or the host has taken an interrupt.</summary>
    Interrupted,

    /// <summary>OP-TEE refused, or its state is unknown: only destroying the VM helps.</summary>
    Failed,
}
