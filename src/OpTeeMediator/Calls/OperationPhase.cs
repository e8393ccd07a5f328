namespace OpTeeMediator.Calls;

/// <summary>What a call's operation is at; <see cref="CallOperation"/> has the transitions.</summary>
internal enum OperationPhase
{
    /// <summary>There is none: the slot is free, or what the operation did is in the tables.</summary>
    None,

    /// <summary>The message is being read and checked.</summary>
    Preparing,

    /// <summary>It begins when no other call uses what it takes away, or none sleeps any more.</summary>
    Draining,

    /// <summary>It begins when the VM is resumed.</summary>
    Held,

    /// <summary>The backend works on it.</summary>
    Working,

    /// <summary>The backend has called the guest, and waits for its answer.</summary>
    CallingGuest,

    /// <summary>The guest has answered while the VM is paused: the backend is told when it is resumed.</summary>
    AnswerKept,

    /// <summary>The guest is gone; the backend still works.</summary>
    Orphaned,

    /// <summary>The guest is gone while the VM is paused: its caller is told after the pause.</summary>
    OrphanedAnswerKept,

    /// <summary>The backend has ended it; what it did is not in the tables yet.</summary>
    Ended,
}
