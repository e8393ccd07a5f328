using Microsoft.Extensions.Logging;

namespace OpTeeMediator.Diagnostics;

/// <summary>Puts the VM's name before each entry, and among its values as <c>Vm</c>.</summary>
/// <remarks>Allocates only for entries that are logged. Thread-safe if the other logger is.</remarks>
internal sealed class VmLogger(ILogger logger, string vm) : ILogger
{
    public IDisposable? BeginScope<TState>(TState state) where TState : notnull => logger.BeginScope(state);

    public bool IsEnabled(LogLevel logLevel) => logger.IsEnabled(logLevel);

    public void Log<TState>(
        LogLevel logLevel, EventId eventId, TState state, Exception? exception,
        Func<TState, Exception?, string> formatter)
    {
        if (logger.IsEnabled(logLevel))
        {
            VmLogEntry entry =
                new(vm, formatter(state, exception), state as IReadOnlyList<KeyValuePair<string, object?>> ?? []);
            logger.Log(logLevel, eventId, entry, exception, static (entry, _) => entry.ToString());
        }
    }
}
