namespace OpTeeMediator.Calls;

/// <summary>What a saved state has of a session's backend.</summary>
internal enum SavedSessionKind
{
    /// <summary>Nothing: it is being opened, or is closed already.</summary>
    None,

    /// <summary>The mediator's own device enumeration.</summary>
    Enumeration,

    /// <summary>It could not move: its commands get TEE_ERROR_TARGET_DEAD.</summary>
    Dead,

    /// <summary>The backend has saved it: the next of its list.</summary>
    Saved,
}
