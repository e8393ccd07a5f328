using Microsoft.Extensions.Logging;

namespace OpTeeMediator.Fuzzing.Targets;

/// <summary>Notes the first exception that is logged, except those that are expected.</summary>
internal sealed class WatchedLog(Func<Exception, bool> isExpected) : ILoggerFactory, ILogger
{
    private Exception? _failure;

    public Exception? Failure => Volatile.Read(ref _failure);

    public ILogger CreateLogger(string categoryName) => this;

    public void AddProvider(ILoggerProvider provider)
    {
    }

    public void Dispose()
    {
    }

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Warning;

    public void Log<TState>(
        LogLevel logLevel, EventId eventId, TState state, Exception? exception,
        Func<TState, Exception?, string> formatter)
    {
        if (exception is not null && !isExpected(exception))
        {
            _ = Interlocked.CompareExchange(ref _failure, exception, null);
        }
    }
}
