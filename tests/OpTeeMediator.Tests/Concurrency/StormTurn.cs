namespace OpTeeMediator.Tests.Concurrency;

/// <summary>One suspension of a call: exactly one of those who resume it may succeed.</summary>
internal sealed class StormTurn(StormCall call, ulong resumeInformation)
{
    private int _resumed;

    public StormCall Call => call;

    public ulong ResumeInformation => resumeInformation;

    /// <summary>Whether the guest is to answer an RPC before it resumes the call.</summary>
    public bool IsAsked { get; init; }

    /// <summary>X0 to X5 of the return, for the guest's answer.</summary>
    public ulong[] Registers { get; init; } = [];

    public bool IsResumed => Volatile.Read(ref _resumed) != 0;

    /// <summary>Notes that a resume was accepted.</summary>
    /// <returns><see langword="false"/> if it is not the first.</returns>
    public bool TryMarkResumed() => Interlocked.Exchange(ref _resumed, 1) == 0;
}
