namespace OpTeeMediator.Diagnostics;

/// <summary>Lets one log entry of a kind pass in an interval, and counts the others, which a guest can cause.</summary>
/// <remarks>Thread-safe; allocates nothing.</remarks>
internal sealed class LogRateLimit(TimeProvider time)
{
    /// <summary>The shortest time between two entries of one kind.</summary>
    public static readonly TimeSpan Interval = TimeSpan.FromSeconds(10);

    private long _nextEntry = long.MinValue;
    private long _suppressed;

    public LogRateLimit() : this(TimeProvider.System)
    {
    }

    /// <summary>Asks whether an entry may be written now, and how many were suppressed since the last one.</summary>
    public bool TryPass(out long suppressed)
    {
        long now = time.GetTimestamp();
        long next = Volatile.Read(ref _nextEntry);
        long ticks = (long)(Interval.TotalSeconds * time.TimestampFrequency);
        if (now < next || Interlocked.CompareExchange(ref _nextEntry, now + ticks, next) != next)
        {
            _ = Interlocked.Increment(ref _suppressed);
            suppressed = 0;
            return false;
        }

        suppressed = Interlocked.Exchange(ref _suppressed, 0);
        return true;
    }
}
