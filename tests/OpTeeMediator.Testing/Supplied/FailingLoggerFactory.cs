using Microsoft.Extensions.Logging;

namespace OpTeeMediator.Testing.Supplied;

/// <summary>Loggers of which one call fails; every level is enabled.</summary>
public sealed class FailingLoggerFactory(FailurePlan plan) : ILoggerFactory
{
    public ILogger CreateLogger(string categoryName)
    {
        plan.Enter(nameof(CreateLogger));
        return new Logger(plan);
    }

    public void AddProvider(ILoggerProvider provider) => plan.Enter(nameof(AddProvider));

    public void Dispose()
    {
    }

    private sealed class Logger(FailurePlan plan) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull
        {
            plan.Enter(nameof(BeginScope));
            return new Scope(plan);
        }

        public bool IsEnabled(LogLevel logLevel)
        {
            plan.Enter(nameof(IsEnabled));
            return true;
        }

        public void Log<TState>(
            LogLevel logLevel, EventId eventId, TState state, Exception? exception,
            Func<TState, Exception?, string> formatter)
        {
            plan.Enter(nameof(Log));
            _ = formatter(state, exception);
        }
    }

    private sealed class Scope(FailurePlan plan) : IDisposable
    {
        public void Dispose() => plan.Enter("Scope.Dispose");
    }
}
