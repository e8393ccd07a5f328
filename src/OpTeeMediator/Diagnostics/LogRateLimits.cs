using System.Collections.Concurrent;

namespace OpTeeMediator.Diagnostics;

/// <summary>A limit for each kind of log entry, by its event id. Thread-safe.</summary>
/// <remarks>Only for loggers whose event ids are constants of this product: each costs a limit.</remarks>
internal sealed class LogRateLimits(TimeProvider time, int entries)
{
    // Small: each VM has one, and most log a few kinds of entry.
    private readonly ConcurrentDictionary<int, LogRateLimit> _limits = new(concurrencyLevel: 1, capacity: 4);

    /// <inheritdoc cref="LogRateLimit.TryPass"/>
    public bool TryPass(int eventId, out long suppressed) =>
        _limits.GetOrAdd(eventId, static (_, self) => self.Create(), this).TryPass(out suppressed);

    private LogRateLimit Create() => new(time, entries);
}
