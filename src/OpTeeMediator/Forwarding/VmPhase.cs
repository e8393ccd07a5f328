namespace OpTeeMediator.Forwarding;

/// <summary>What happens to a forwarded VM as a whole; see <see cref="VmPhases"/> for the transitions.</summary>
internal enum VmPhase
{
    /// <summary>OP-TEE knows the VM and has nothing of an earlier driver: calls are forwarded.</summary>
    Serving,

    /// <summary>One thread resets the VM or starts a driver: all other calls are answered ENOTAVAIL.</summary>
    Restarting,

    /// <summary>OP-TEE did not create the VM again: only a driver that starts is served.</summary>
    NotCreated,

    /// <summary>OP-TEE has something of an earlier driver; the next yielding call cleans up a piece of it.</summary>
    CleanupPending,

    /// <summary>As <see cref="CleanupPending"/>, but OP-TEE did not release it and the VM may not be created again:
    /// yielding calls are answered ENOTAVAIL, unless the piece that they do ends the cleanup.</summary>
    CleanupBlocked,

    /// <summary>One vCPU does a piece of the cleanup.</summary>
    CleanupRunning,

    /// <summary>The VM is destroyed, or about to be: calls are answered "unknown function".</summary>
    Disposed,
}
