using Microsoft.Extensions.Logging;

namespace KvmVmm.Logging;

/// <summary>Writes lines to standard error: time, level, who, what.</summary>
/// <remarks>Thread-safe.</remarks>
internal sealed class ErrorStreamLogger(string category, LogLevel lowest) : ILogger
{
    /// <inheritdoc/>
    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    /// <inheritdoc/>
    public bool IsEnabled(LogLevel logLevel) => logLevel >= lowest && logLevel != LogLevel.None;

    /// <inheritdoc/>
    public void Log<TState>(
        LogLevel logLevel,
        EventId eventId,
        TState state,
        Exception? exception,
        Func<TState, Exception?, string> formatter)
    {
        if (IsEnabled(logLevel))
        {
            string details = exception is null ? "" : $"\n{exception}";
            Console.Error.WriteLine(
                $"{DateTime.UtcNow:HH:mm:ss.fff} {logLevel} {category}[{eventId.Id}]: "
                + $"{formatter(state, exception)}{details}");
        }
    }
}
