using System.Globalization;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace OpTeeMediator.Diagnostics;

/// <summary>The VMM's logger, which may throw (a full disk, say), as one that does not: what throws is lost.</summary>
/// <remarks>Thread-safe if the VMM's logger is.</remarks>
internal sealed class NonThrowingLogger(ILogger logger, LogRateLimits? limits = null) : ILogger
{
    /// <summary>How many entries of a kind a VM has in <see cref="LogRateLimit.Interval"/> at most.</summary>
    public const int EntriesOfAKind = 20;

    /// <summary>Creates the logger of a VM's part: whatever its guest does, each kind of entry is limited, at every
    /// level.</summary>
    public static ILogger CreateForVm<T>(ILoggerFactory factory, int entries = EntriesOfAKind) =>
        CreateForVm(factory, typeof(T).FullName!, entries);

    /// <inheritdoc cref="CreateForVm{T}(ILoggerFactory, int)"/>
    public static ILogger CreateForVm(ILoggerFactory factory, string category, int entries) =>
        Create(factory, category, new LogRateLimits(TimeProvider.System, entries));

    /// <summary>Creates the logger of what serves several VMs.</summary>
    public static ILogger Create<T>(ILoggerFactory factory) => Create(factory, typeof(T).FullName!);

    /// <summary>Creates the logger of a category; it logs nowhere if the factory throws or returns nothing.</summary>
    public static ILogger Create(ILoggerFactory factory, string category, LogRateLimits? limits = null)
    {
        try
        {
            return factory.CreateLogger(category) is { } logger
                ? new NonThrowingLogger(logger, limits)
                : NullLogger.Instance;
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
            if (limits is null || !logger.IsEnabled(logLevel))
            {
                logger.Log(logLevel, eventId, state, exception, formatter);
            }
            else if (limits.TryPass(eventId.Id, out long suppressed))
            {
                logger.Log(
                    logLevel, eventId, state, exception, suppressed == 0 ? formatter : AddCount(formatter, suppressed));
            }
        }
        catch (Exception)
        {
            // There is no second log.
        }
    }

    private static Func<TState, Exception?, string> AddCount<TState>(
        Func<TState, Exception?, string> formatter, long suppressed) =>
        (state, exception) => string.Create(CultureInfo.InvariantCulture,
            $"{formatter(state, exception)} (entries like this of this VM, suppressed before it: {suppressed})");

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
