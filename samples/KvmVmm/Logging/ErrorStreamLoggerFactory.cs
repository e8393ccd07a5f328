using Microsoft.Extensions.Logging;

namespace KvmVmm.Logging;

/// <summary>Loggers that write lines to standard error, which is not the guest's.</summary>
/// <remarks>Thread-safe.</remarks>
internal sealed class ErrorStreamLoggerFactory(LogLevel lowest) : ILoggerFactory
{
    /// <inheritdoc/>
    public ILogger CreateLogger(string categoryName) =>
        new ErrorStreamLogger(categoryName[(categoryName.LastIndexOf('.') + 1)..], lowest);

    /// <inheritdoc/>
    public void AddProvider(ILoggerProvider provider) =>
        throw new NotSupportedException("Everything goes to standard error.");

    /// <inheritdoc/>
    public void Dispose()
    {
    }
}
