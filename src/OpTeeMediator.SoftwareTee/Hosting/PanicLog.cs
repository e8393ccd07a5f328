namespace OpTeeMediator.SoftwareTee.Hosting;

/// <summary>
/// Says how loudly something is logged that a guest can bring about at will: once in an interval as an error, else for
/// debugging.
/// </summary>
/// <param name="time">The clock.</param>
/// <remarks>Thread-safe.</remarks>
internal sealed class PanicLog(TimeProvider time)
{
    /// <summary>The time between two errors.</summary>
    public static readonly TimeSpan Interval = TimeSpan.FromMinutes(1);

    private readonly Lock _lock = new();
    private long _last;
    private bool _hasLast;
    private int _quiet;

    /// <summary>Asked for each entry.</summary>
    /// <param name="quiet">
    /// How many entries since the last error were for debugging only; 0 unless this is an error.
    /// </param>
    public bool IsError(out int quiet)
    {
        lock (_lock)
        {
            quiet = 0;
            if (_hasLast && time.GetElapsedTime(_last) < Interval)
            {
                _quiet++;
                return false;
            }

            (quiet, _quiet) = (_quiet, 0);
            _last = time.GetTimestamp();
            _hasLast = true;
            return true;
        }
    }
}
