namespace OpTeeMediator.Tests.HostileGuest;

/// <summary>Where a call may be when its guest dies: the states of its slot, what it waits for in each, and what it has
/// of the guest's by then.</summary>
/// <remarks>docs/call-state-machine.md draws the states; <see cref="DyingCall"/> brings a call into each.</remarks>
internal enum DeathPoint
{
    /// <summary>Running: a vCPU is inside with it.</summary>
    VcpuInside,

    /// <summary>Suspended, and the backend at work with a command.</summary>
    Preempted,

    /// <summary>Suspended, and the backend at work with an OPEN_SESSION.</summary>
    Opening,

    /// <summary>Suspended, and the backend at work with a CLOSE_SESSION.</summary>
    Closing,

    /// <summary>Suspended, and the backend at work with an UNREGISTER_SHM.</summary>
    Unregistering,

    /// <summary>Suspended, and the result waits for the guest.</summary>
    Finished,

    /// <summary>Suspended, and the backend's request waits for the guest.</summary>
    RpcRequested,

    /// <summary>RPC ALLOC.</summary>
    Allocating,

    /// <summary>RPC CMD.</summary>
    Calling,

    /// <summary>RPC CMD, while the operation has memory of the guest's.</summary>
    CallingWithMemory,

    /// <summary>RPC CMD, SHM_FREE of memory that cannot be used.</summary>
    Declining,

    /// <summary>RPC CMD, NOTIFICATION wait.</summary>
    Sleeping,

    /// <summary>RPC CMD, SHM_FREE of memory that the operation has left; it is over.</summary>
    GivingBackMemory,

    /// <summary>RPC FREE; the operation is over.</summary>
    GivingBackMessage,

    /// <summary>CLOSE_SESSION that waits until a command has ended.</summary>
    DrainingSession,

    /// <summary>UNREGISTER_SHM that waits until a command has ended.</summary>
    DrainingBuffer,

    /// <summary>STOP_ASYNC_NOTIF that waits until a sleeping call is back.</summary>
    DrainingNotifications,

    /// <summary>INVOKE_COMMAND that the pause has kept from beginning.</summary>
    HeldInvoke,

    /// <summary>OPEN_SESSION that the pause has kept from beginning.</summary>
    HeldOpen,

    /// <summary>CLOSE_SESSION that the pause has kept from beginning.</summary>
    HeldClose,

    /// <summary>REGISTER_SHM that the pause has kept from beginning.</summary>
    HeldRegister,

    /// <summary>UNREGISTER_SHM that the pause has kept from beginning.</summary>
    HeldUnregister,

    /// <summary>Abandoned by an earlier driver, and the backend at work.</summary>
    Abandoned,
}
