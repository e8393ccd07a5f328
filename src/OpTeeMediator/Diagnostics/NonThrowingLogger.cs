using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace OpTeeMediator.Diagnostics;

/// <summary>The VMM's logger, which may throw (a full disk, say), as one that does not: what throws is lost.</summary>
/// <remarks>Thread-safe if the VMM's logger is.</remarks>
internal sealed class NonThrowingLogger(ILogger logger) : ILogger
{
    public static ILogger Create<T>(ILoggerFactory factory) => Create(factory, typeof(T).FullName!);

    /// <summary>Creates the logger of a category; it logs nowhere if the factory throws or returns nothing.</summary>
    public static ILogger Create(ILoggerFactory factory, string category)
    {
        try
        {
            return factory.CreateLogger(category) is { } logger ? new NonThrowingLogger(logger) : NullLogger.Instance;
        }
        catch (Exception)
        {
            return NullLogger.Instance;
        }
    }

    public IDisposable? BeginScope<TState>(TState state) where TState : notnull
    {
        try
        {
            return logger.BeginScope(state) is { } scope ? new Scope(scope) : null;
        }
        catch (Exception)
        {
            return null;
        }
    }

    public bool IsEnabled(LogLevel logLevel)
    {
        try
        {
            return logger.IsEnabled(logLevel);
        }
        catch (Exception)
        {
            return false;
        }
    }

    public void Log<TState>(
        LogLevel logLevel, EventId eventId, TState state, Exception? exception,
        Func<TState, Exception?, string> formatter)
    {
        try
        {
            logger.Log(logLevel, eventId, state, exception, formatter);
        }
        catch (Exception)
        {
            // There is no second log.
        }
    }

    private sealed class Scope(IDisposable scope) : IDisposable
    {
        public void Dispose()
        {
            try
            {
                scope.Dispose();
            }
            catch (Exception)
            {
                // As above.
            }
        }
    }
}
