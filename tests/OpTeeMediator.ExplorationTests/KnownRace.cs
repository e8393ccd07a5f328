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

    /// <summary>A call looks whether its end is waited for before others see that it has ended.</summary>
    WaitersAreAskedTooEarly,

    /// <summary>A call that begins does not look whether its driver has ended.</summary>
    RetirementIsNotSeen,

    /// <summary>A call that is suspended does not look whether its driver has ended meanwhile.</summary>
    SuspendedCallIsLeft,

    /// <summary>Who takes the pool's spare buffer reads it, then clears the place.</summary>
    SpareIsTakenTwice,

    /// <summary>A translated cookie is used though the buffer that was found may have become another one.</summary>
    TranslationIsNotChecked,

    /// <summary>A call does not look whether operations may begin.</summary>
    BeginsWhileDraining,

    /// <summary>A call that is about to sleep does not look whether its operation has ended meanwhile.</summary>
    EndIsNotSeenBeforeSleep,

    /// <summary>The teardown of an earlier driver goes on while the VM is paused.</summary>
    TeardownIsNotHeld,

    /// <summary>Who drains the VM looks twice at the phase of an operation, which begins in between.</summary>
    PhaseIsReadTwice,
}
