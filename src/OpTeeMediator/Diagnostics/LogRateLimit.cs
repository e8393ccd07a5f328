namespace OpTeeMediator.Diagnostics;

/// <summary>Lets a number of log entries of a kind pass in an interval, and counts the others, which a guest can
/// cause.</summary>
/// <remarks>After as many as may pass at once, one passes each time its share of the interval is over. Thread-safe;
/// allocates nothing.</remarks>
internal sealed class LogRateLimit(TimeProvider time, int entries = 1)
{
    /// <summary>The time in which the number passes; for one entry the shortest time between two.</summary>
    public static readonly TimeSpan Interval = TimeSpan.FromSeconds(10);

    // When all that has passed would have passed at the steady rate.
    private long _paidUntil = long.MinValue;
    private long _suppressed;

    public LogRateLimit() : this(TimeProvider.System)
    {
    }

    /// <summary>Asks whether an entry may be written now, and how many were suppressed since the last one.</summary>
    public bool TryPass(out long suppressed)
    {
        long interval = (long)(Interval.TotalSeconds * time.TimestampFrequency);
        long share = interval / entries;
        long now = time.GetTimestamp();
        while (true)
        {
            long seen = Volatile.Read(ref _paidUntil);
            long paidUntil = Math.Max(seen, now);
            if (paidUntil - now > interval - share)
            {
                _ = Interlocked.Increment(ref _suppressed);
                suppressed = 0;
                return false;
            }

            if (Interlocked.CompareExchange(ref _paidUntil, paidUntil + share, seen) == seen)
            {
                suppressed = Interlocked.Exchange(ref _suppressed, 0);
                return true;
            }
        }
    }
}
