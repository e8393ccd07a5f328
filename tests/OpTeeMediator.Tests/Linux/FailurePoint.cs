namespace OpTeeMediator.Tests.Linux;

/// <summary>Makes one call of what a VMM supplies fail: the n-th.</summary>
/// <param name="failing">Which call throws, from 1 on.</param>
internal sealed class FailurePoint(int failing)
{
    private int _calls;

    /// <summary>Whether it has thrown.</summary>
    internal bool HasThrown => Volatile.Read(ref _calls) >= failing;

    /// <summary>A call is made.</summary>
    /// <exception cref="IOException">It is the one that fails.</exception>
    internal void Pass()
    {
        if (Interlocked.Increment(ref _calls) == failing)
        {
            throw new IOException("What the VMM supplies has failed.");
        }
    }
}
