using Microsoft.Extensions.Logging;

namespace OpTeeMediator.Remote;

/// <summary>What <see cref="TeeServer"/> logs, with event identifiers from 2640 to 2659.</summary>
/// <remarks>Identifiers are stable: none is given twice, none changes its meaning.</remarks>
internal static partial class Log
{
    [LoggerMessage(
        EventId = 2640, Level = LogLevel.Information,
        Message = "The TEE server listens at {Path}, for processes of {Users} users.")]
    internal static partial void ServerStarted(this ILogger logger, string path, int users);

    [LoggerMessage(
        EventId = 2641, Level = LogLevel.Warning,
        Message = "A connection is closed: {Reason}. Entries like this suppressed before it: {Suppressed}.")]
    internal static partial void ConnectionRefused(this ILogger logger, string reason, long suppressed);

    [LoggerMessage(
        EventId = 2642, Level = LogLevel.Error,
        Message = "The TEE server cannot take connections at present: {Reason}. Entries like this suppressed before "
            + "it: {Suppressed}.")]
    internal static partial void AcceptFailed(this ILogger logger, string reason, long suppressed);
}
