namespace OpTeeMediator.Linux.Companion;

/// <summary>Why an OP-TEE counts as failed.</summary>
internal enum TeeFailureCause
{
    /// <summary>It keeps a core without answering.</summary>
    NoAnswer,

    /// <summary>It has made an SMC or HVC that is not the one expected; the number tells which.</summary>
    UnexpectedCall,

    /// <summary>KVM has given the core back for a reason that it cannot have; the number tells which.</summary>
    UnexpectedExit,

    /// <summary>KVM fails.</summary>
    HostFailure,

    /// <summary>Its start was given up.</summary>
    Aborted,
}
