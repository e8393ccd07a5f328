namespace OpTeeMediator.Tests.Concurrency;

/// <summary>What a command of <see cref="StormTee"/> does.</summary>
[Flags]
internal enum StormScript
{
    /// <summary>Nothing: it ends at once.</summary>
    None,

    /// <summary>How often it calls the guest: 0 to 3 times.</summary>
    Calls = 3,

    Memory = 4,

    /// <summary>Whether it leaves the memory to the mediator.</summary>
    Keep = 8,

    /// <summary>Whether it takes some milliseconds.</summary>
    Long = 16,
}
