using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;

namespace OpTeeMediator.Diagnostics;

/// <summary>Every message the core logs. Event ids are stable: 1000–1099 guests, 1100–1199 backends, 1200–1299 life
/// cycle, 1300–1399 forwarding.</summary>
internal static partial class Log
{
    [LoggerMessage(1000, LogLevel.Debug,
        "Call 0x{FunctionId:x8} with argument 0x{Argument:x} refused, {Answer}: {Reason}")]
    public static partial void CallRefused(
        this ILogger log, uint functionId, ulong argument, uint answer, string? reason);

    [LoggerMessage(1001, LogLevel.Debug, "Trusted application {Application} is not among those this VM may reach")]
    public static partial void ApplicationRefused(this ILogger log, Guid application);

    [LoggerMessage(1002, LogLevel.Debug,
        "Sharing of memory with cookie 0x{Cookie:x}, {Size} bytes, refused, {Code}: {Reason}")]
    public static partial void SharingRefused(
        this ILogger log, ulong cookie, ulong size, TeeReturnCode code, string reason);

    [LoggerMessage(1003, LogLevel.Debug,
        "A driver of the guest ends with {Sessions} sessions, {Buffers} shared buffers and {Calls} calls in flight")]
    public static partial void DriverEnds(this ILogger log, int sessions, int buffers, int calls);

    [LoggerMessage(1004, LogLevel.Debug, "The guest's answer to RPC {Command} was refused: {Reason}")]
    public static partial void RpcAnswerRefused(this ILogger log, uint command, string reason);

    [LoggerMessage(1005, LogLevel.Debug,
        "Message with command {Command} and session {Session} refused, {Code}: {Reason}")]
    public static partial void MessageRefused(
        this ILogger log, uint command, uint session, TeeReturnCode code, string reason);

    [LoggerMessage(
        1100, LogLevel.Error,
        "The TEE backend failed in {Operation}; the guest gets TEE_ERROR_COMMUNICATION. Entries like this suppressed "
            + "before it: {Suppressed}")]
    public static partial void BackendFailed(
        this ILogger log, TeeOperation operation, long suppressed, Exception exception);

    [LoggerMessage(1101, LogLevel.Error,
        "An SMC 0x{FunctionId:x8} could not be served; this is a defect of the mediator or of the VMM's IGuestMemory")]
    public static partial void CallFailed(this ILogger log, uint functionId, Exception exception);

    [LoggerMessage(1102, LogLevel.Error,
        "The VMM's interrupt line failed; the pulse is repeated. Entries like this suppressed before it: {Suppressed}")]
    public static partial void InterruptFailed(this ILogger log, long suppressed, Exception exception);

    [LoggerMessage(
        1103, LogLevel.Error,
        "The VMM's IGuestMemory failed to unpin {Pages} pages; they are no longer shared, and may stay pinned. "
            + "Entries like this suppressed before it: {Suppressed}")]
    public static partial void UnpinFailed(this ILogger log, int pages, long suppressed, Exception exception);

    [LoggerMessage(1200, LogLevel.Warning,
        "{Calls} calls did not end within {Deadline}; what they hold is freed when they do")]
    public static partial void CallsOutliveGuest(this ILogger log, int calls, TimeSpan deadline);

    [LoggerMessage(
        1201, LogLevel.Error,
        "What an earlier driver of the guest left could not be freed. Entries like this suppressed before it: "
            + "{Suppressed}")]
    public static partial void TeardownFailed(this ILogger log, long suppressed, Exception exception);

    [LoggerMessage(1202, LogLevel.Error,
        "The TEE backend could not be reset with its VM; what its applications keep may be from before the reset")]
    public static partial void BackendResetFailed(this ILogger log, Exception exception);

    [LoggerMessage(
        1300, LogLevel.Error,
        "The VMM's IGuestMemory failed in {Method}; the guest is told that the memory is bad. Entries like this "
            + "suppressed before it: {Suppressed}")]
    public static partial void GuestMemoryFailed(this ILogger log, string method, long suppressed, Exception exception);

    [LoggerMessage(
        1307, LogLevel.Error,
        "The VMM's IPhysicalMemory failed in {Method}; the guest's call fails. Entries like this suppressed before "
            + "it: {Suppressed}")]
    public static partial void PhysicalMemoryFailed(
        this ILogger log, string method, long suppressed, Exception exception);

    [LoggerMessage(
        1301, LogLevel.Error,
        "The secure monitor failed in SMC 0x{FunctionId:x8}; the call stays with OP-TEE, and the VM's shared memory "
            + "stays pinned beyond its end")]
    public static partial void MonitorFailed(this ILogger log, uint functionId, Exception exception);

    [LoggerMessage(
        1302, LogLevel.Error,
        "OP-TEE answered {Answer} to VM_DESTROYED of VM {Id}; the VM's number and its {Buffers} shared buffers stay "
            + "taken")]
    public static partial void DestructionRefused(this ILogger log, int id, uint answer, int buffers);

    [LoggerMessage(
        1303, LogLevel.Error,
        "OP-TEE answered {Answer} to VM_CREATED of VM {Id}, whose driver starts again; the guest has no TEE until it "
            + "tries again")]
    public static partial void CreationRefused(this ILogger log, int id, uint answer);

    [LoggerMessage(1304, LogLevel.Debug,
        "Memory with cookie 0x{Cookie:x}, {Size} bytes, which the guest offers for RPCs, refused, {Code}: {Reason}")]
    public static partial void RpcMemoryRefused(
        this ILogger log, ulong cookie, ulong size, TeeReturnCode code, string reason);

    [LoggerMessage(1305, LogLevel.Debug,
        "An RPC message of OP-TEE cannot be delivered: the guest has no memory at {Address}")]
    public static partial void RpcUndeliverable(this ILogger log, Memory.GuestAddress address);

    [LoggerMessage(
        1306, LogLevel.Error,
        "VM {Id} ended after its secure monitor failed: its number and its {Buffers} shared buffers stay taken, as "
            + "OP-TEE may be at work on them")]
    public static partial void FailedCallKeepsMemory(this ILogger log, int id, int buffers);

    [LoggerMessage(
        1308, LogLevel.Warning,
        "OP-TEE has been told {Count} times that VM {Id} is destroyed and created again, and is not told so again; "
            + "what cannot be cleaned up otherwise is refused. Logged once")]
    public static partial void RecreationLimitReached(this ILogger log, int id, int count);
}
