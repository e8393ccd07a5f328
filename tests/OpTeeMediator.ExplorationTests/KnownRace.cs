namespace OpTeeMediator.ExplorationTests;

/// <summary>Races that prepare-core can put back into the core; each was there once, or is what its comment warns of.
/// </summary>
internal enum KnownRace
{
    None,

    /// <summary>A vCPU looks whether the VM is paused before it says that it begins.</summary>
    PauseIsReadFirst,

    /// <summary>An attempt to pause that fails ends another's pause.</summary>
    WithdrawalEndsAllPauses,

    /// <summary>Who enters the set of pins reads, then writes.</summary>
    PinsAreNotExclusive,

    /// <summary>A call does not look whether the tables have changed since its look-up.</summary>
    VersionIsNotReadAgain,

    /// <summary>Who resumes a call reads its state, then writes it.</summary>
    ResumeIsNotAtomic,

    /// <summary>A vCPU looks for the result before it says that it waits.</summary>
    WaitIsSaidTooLate,
}
