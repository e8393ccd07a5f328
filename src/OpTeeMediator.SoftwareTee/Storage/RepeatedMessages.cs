namespace OpTeeMediator.SoftwareTee.Storage;

/// <summary>A guest can repeat what fails at will: the same message is logged once a minute. Thread-safe.</summary>
internal sealed class RepeatedMessages
{
    private static readonly TimeSpan Interval = TimeSpan.FromMinutes(1);

    private readonly Lock _lock = new();
    private string? _logged;
    private long _loggedAt;

    /// <summary>Asked for each message.</summary>
    /// <returns>Whether to log it.</returns>
    public bool IsDue(string message)
    {
        lock (_lock)
        {
            if (message == _logged && TimeProvider.System.GetElapsedTime(_loggedAt) < Interval)
            {
                return false;
            }

            (_logged, _loggedAt) = (message, TimeProvider.System.GetTimestamp());
            return true;
        }
    }
}
