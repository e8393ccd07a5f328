namespace OpTeeMediator.SoftwareTee.Hosting;

/// <summary>The level of an entry that a guest can cause at will: once in an interval Error, else Debug.</summary>
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
    /// <param name="quiet">How many entries since the last error were Debug; 0 unless this is an error.</param>
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
