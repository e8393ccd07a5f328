namespace OpTeeMediator.Linux.Companion;

/// <summary>What a companion's state, or a round of its copy, has of an OP-TEE. The values are those of the
/// format.</summary>
internal enum CompanionContent : byte
{
    /// <summary>There is none: it has failed.</summary>
    NoTee = 0,

    /// <summary>All of it.</summary>
    Whole = 1,

    /// <summary>Of its memory what was written since the round before.</summary>
    Rest = 2,
}
