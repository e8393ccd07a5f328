namespace OpTeeMediator.Calls;

/// <summary>Whether the guest's thread of a call waits for a notification.</summary>
internal enum SleepState
{
    /// <summary>It does not.</summary>
    Awake,

    /// <summary>It does, or is about to, and the notification is not sent yet.</summary>
    Asleep,

    /// <summary>The notification is sent, and the thread is not back yet.</summary>
    Woken,
}
