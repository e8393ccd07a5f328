using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;

namespace OpTeeMediator.Messages;

/// <summary>What a guest asks for and is refused. Event ids are stable: 1000, 1002 and 1005.</summary>
internal static partial class MessageLog
{
    [LoggerMessage(1000, LogLevel.Debug,
        "Call 0x{FunctionId:x8} with argument 0x{Argument:x} refused, {Answer}: {Reason}")]
    public static partial void CallRefused(
        this ILogger log, uint functionId, ulong argument, uint answer, string reason);

    [LoggerMessage(1002, LogLevel.Debug,
        "Sharing of memory with cookie 0x{Cookie:x}, {Size} bytes, refused, {Code}: {Reason}")]
    public static partial void SharingRefused(
        this ILogger log, ulong cookie, ulong size, TeeReturnCode code, string reason);

    [LoggerMessage(1005, LogLevel.Debug,
        "Message with command {Command} and session {Session} refused, {Code}: {Reason}")]
    public static partial void MessageRefused(
        this ILogger log, uint command, uint session, TeeReturnCode code, string reason);
}
