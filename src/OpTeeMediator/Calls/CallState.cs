namespace OpTeeMediator.Calls;

/// <summary>The states of a <see cref="CallSlot"/>; docs/call-state-machine.md draws them.</summary>
internal enum CallState
{
    /// <summary>No call: any vCPU may take the slot.</summary>
    Free,

    /// <summary>A vCPU is inside the mediator with the call.</summary>
    Running,

    /// <summary>The guest holds the resume information; the backend may be at work.</summary>
    Suspended,

    /// <summary>The guest is gone; the slot waits for its backend to return.</summary>
    Abandoned,
}
