using Microsoft.Extensions.Logging;
using OpTeeMediator.Backends;
using OpTeeMediator.Memory;

namespace OpTeeMediator.Forwarding;

/// <summary>Log messages of the forwarder. Event ids are stable: 1301–1399.</summary>
internal static partial class ForwardingLog
{
    [LoggerMessage(1307, LogLevel.Error,
        "The VMM's IPhysicalMemory failed in {Method}; the guest's call fails. Entries like this suppressed before "
            + "it: {Suppressed}")]
    public static partial void PhysicalMemoryFailed(
        this ILogger log, string method, long suppressed, Exception exception);

    [LoggerMessage(1301, LogLevel.Error,
        "The secure monitor failed in SMC 0x{FunctionId:x8}; the call stays with OP-TEE, and the VM's shared memory "
            + "stays pinned beyond its end")]
    public static partial void MonitorFailed(this ILogger log, uint functionId, Exception exception);

    [LoggerMessage(1302, LogLevel.Error,
        "OP-TEE answered {Answer} to VM_DESTROYED of VM {Id}; the VM's number and its {Buffers} shared buffers stay "
            + "taken")]
    public static partial void DestructionRefused(this ILogger log, int id, uint answer, int buffers);

    [LoggerMessage(1303, LogLevel.Error,
        "OP-TEE answered {Answer} to VM_CREATED of VM {Id}, whose driver starts again; the guest has no TEE until it "
            + "tries again")]
    public static partial void CreationRefused(this ILogger log, int id, uint answer);

    [LoggerMessage(1304, LogLevel.Debug,
        "Memory with cookie 0x{Cookie:x}, {Size} bytes, which the guest offers for RPCs, refused, {Code}: {Reason}")]
    public static partial void RpcMemoryRefused(
        this ILogger log, ulong cookie, ulong size, TeeReturnCode code, string reason);

    [LoggerMessage(1305, LogLevel.Debug,
        "An RPC message of OP-TEE cannot be delivered: the guest has no memory at {Address}")]
    public static partial void RpcUndeliverable(this ILogger log, GuestAddress address);

    [LoggerMessage(1306, LogLevel.Error,
        "VM {Id} ended after its secure monitor failed: its number and its {Buffers} shared buffers stay taken, as "
            + "OP-TEE may be at work on them")]
    public static partial void FailedCallKeepsMemory(this ILogger log, int id, int buffers);

    [LoggerMessage(1308, LogLevel.Warning,
        "OP-TEE has been told {Count} times that VM {Id} is destroyed and created again, and is not told so again; "
            + "what cannot be cleaned up otherwise is refused. Logged once")]
    public static partial void RecreationLimitReached(this ILogger log, int id, int count);
}
