using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;

namespace OpTeeMediator.Tests.Linux;

internal sealed class ListLoggerFactory : ILoggerFactory, ILogger
{
    private readonly ConcurrentQueue<(LogLevel Level, int EventId, string Message)> _entries = new();

    /// <summary>What happens with each message besides.</summary>
    internal Action? OnMessage { get; set; }

    internal IEnumerable<int> EventIds => _entries.Select(entry => entry.EventId);

    internal IEnumerable<(LogLevel Level, int EventId, string Message)> Entries => _entries;

    internal IEnumerable<LogLevel> Levels => _entries.Select(entry => entry.Level);

    internal IEnumerable<string> Messages => _entries.Select(entry => entry.Message);

    public ILogger CreateLogger(string categoryName) => this;

    public void AddProvider(ILoggerProvider provider)
    {
    }

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => true;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception,
        Func<TState, Exception?, string> formatter)
    {
        _entries.Enqueue((logLevel, eventId.Id, formatter(state, exception)));
        OnMessage?.Invoke();
    }

    public void Dispose()
    {
    }
}
