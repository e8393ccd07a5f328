using System.Collections.Immutable;

namespace OpTeeMediator.Linux.Companion;

/// <summary>Finds a core that runs and does not come back, by looking at all of them now and then.</summary>
/// <remarks>Looks are counted rather than time measured: a VMM that was stopped for an hour, or got no processor, has
/// missed its looks as well. Not thread-safe.</remarks>
internal sealed class StallDetector
{
    private long[] _runs = [];
    private int[] _looks = [];

    /// <summary>Looks at the cores: has one been in the same run for as many looks as the patience? Returns whether any
    /// core runs, or has run since the last look.</summary>
    internal bool Look(ImmutableArray<CompanionCore> cores, int patience, out CompanionCore? stalled)
    {
        stalled = null;
        if (_runs.Length != cores.Length)
        {
            _runs = new long[cores.Length];
            _looks = new int[cores.Length];
        }

        bool isActive = false;
        for (int index = 0; index < cores.Length; index++)
        {
            long runs = cores[index].Runs;
            bool isRunning = (runs & 1) != 0;
            bool isSame = runs == _runs[index];
            isActive |= isRunning || !isSame;
            _looks[index] = isRunning && isSame ? _looks[index] + 1 : 0;
            _runs[index] = runs;
            if (_looks[index] >= patience)
            {
                stalled ??= cores[index];
            }
        }

        return isActive;
    }

    /// <summary>Discards what it has seen, because it looks at other cores from now on.</summary>
    internal void Reset() => (_runs, _looks) = ([], []);
}
