namespace OpTeeMediator.Backends;

/// <summary>Where an operation of a backend runs.</summary>
public enum TeeExecution
{
    /// <summary>On a thread that the mediator has prepared: the operation may block. The safe choice.</summary>
    Worker,

    /// <summary>On the vCPU's own thread: the operation is short and never blocks (microseconds at most).</summary>
    Inline,
}
