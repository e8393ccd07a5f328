using OpTeeMediator.SharedMemory;

namespace OpTeeMediator.Calls;

/// <summary>What a call needs of those who serve its VM. Thread-safe; none of these throws.</summary>
internal interface ICallOwner
{
    /// <summary>Whether the VM is paused.</summary>
    PauseControl Pause { get; }

    /// <summary>What wakes sleeping calls.</summary>
    NotificationQueue Notifications { get; }

    /// <summary>The backend, for cancellations and failures.</summary>
    BackendOperations Operations { get; }

    /// <summary>Returns memory that a call has had from the guest.</summary>
    void ReturnBuffer(SharedBuffer buffer);

    /// <summary>Frees the slot of a call whose guest is gone and whose operation has ended or never begun.</summary>
    void ReleaseAbandoned(CallSlot slot);
}
