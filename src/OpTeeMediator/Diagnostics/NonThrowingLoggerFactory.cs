using Microsoft.Extensions.Logging;

namespace OpTeeMediator.Diagnostics;

/// <summary>The VMM's logger factory for a backend: neither it nor its loggers throw. The VMM disposes of it.</summary>
internal sealed class NonThrowingLoggerFactory(ILoggerFactory factory) : ILoggerFactory
{
    public ILogger CreateLogger(string categoryName) => NonThrowingLogger.Create(factory, categoryName);

    public void AddProvider(ILoggerProvider provider)
    {
        try
        {
            factory.AddProvider(provider);
        }
        catch (Exception)
        {
            // The provider's entries are lost.
        }
    }

    public void Dispose()
    {
    }
}
