using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;

namespace OpTeeMediator.RemoteTests;

/// <summary>Keeps what was logged.</summary>
internal sealed class LogList : ILoggerFactory, ILogger
{
    private readonly ConcurrentQueue<string> _messages = [];

    public string[] Messages => [.. _messages];

    public int Count(string part) => _messages.Count(message => message.Contains(part, StringComparison.Ordinal));

    public ILogger CreateLogger(string categoryName) => this;

    public void AddProvider(ILoggerProvider provider)
    {
    }

    public void Dispose()
    {
    }

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => true;

    public void Log<TState>(
        LogLevel logLevel,
        EventId eventId,
        TState state,
        Exception? exception,
        Func<TState, Exception?, string> formatter) => _messages.Enqueue($"{formatter(state, exception)} {exception}");
}
