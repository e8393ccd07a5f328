using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Console;

namespace KvmVmm.Logging;

/// <summary>Loggers that write lines to standard error, which is not the guest's.</summary>
internal static class ErrorStreamLog
{
    /// <summary>Creates them.</summary>
    /// <param name="lowest">The least important messages that are written.</param>
    /// <returns>The loggers. A thread writes; their disposal waits for it.</returns>
    public static ILoggerFactory Create(LogLevel lowest) => LoggerFactory.Create(logging => logging
        .SetMinimumLevel(lowest)
        .AddConsole(console => console.LogToStandardErrorThreshold = LogLevel.Trace)
        .AddSimpleConsole(line =>
        {
            line.SingleLine = true;
            line.TimestampFormat = "HH:mm:ss.fff ";
            line.UseUtcTimestamp = true;
            // The logger's own default asks whether standard output is a terminal.
            line.ColorBehavior = Console.IsErrorRedirected ? LoggerColorBehavior.Disabled : LoggerColorBehavior.Default;
        }));
}
