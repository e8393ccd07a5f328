using OpTeeMediator.SharedMemory;

namespace OpTeeMediator.Calls;

/// <summary>What a call needs of those who serve its VM. Thread-safe; none of these throws.</summary>
internal interface ICallOwner
{
    PauseControl Pause { get; }

    NotificationQueue Notifications { get; }

    BackendOperations Operations { get; }

    CallObserver Observer { get; }

    void ReturnBuffer(SharedBuffer buffer);

    /// <summary>Frees the slot of a call whose guest is gone and whose operation has ended or never begun.</summary>
    void ReleaseAbandoned(CallSlot slot);
}
