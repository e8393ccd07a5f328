using System.Globalization;
using OpTeeMediator.Protocol;

namespace OpTeeMediator.Messages;

/// <summary>Names of SMCs and their answers, for traces: the upstream constants without their prefix.</summary>
internal static class SmcNames
{
    public static string OfFunction(uint functionId) => functionId switch
    {
        OpTeeSmc.CallsCount => "CALLS_COUNT",
        OpTeeSmc.CallsUid => "CALLS_UID",
        OpTeeSmc.CallsRevision => "CALLS_REVISION",
        OpTeeSmc.GetOsUuid => "GET_OS_UUID",
        OpTeeSmc.GetOsRevision => "GET_OS_REVISION",
        OpTeeSmc.CallWithArgument => "CALL_WITH_ARG",
        OpTeeSmc.CallWithRpcArgument => "CALL_WITH_RPC_ARG",
        OpTeeSmc.CallWithRegisteredArgument => "CALL_WITH_REGD_ARG",
        OpTeeSmc.ReturnFromRpc => "RETURN_FROM_RPC",
        OpTeeSmc.GetShmConfig => "GET_SHM_CONFIG",
        OpTeeSmc.ExchangeCapabilities => "EXCHANGE_CAPABILITIES",
        OpTeeSmc.EnableShmCache => "ENABLE_SHM_CACHE",
        OpTeeSmc.DisableShmCache => "DISABLE_SHM_CACHE",
        OpTeeSmc.GetThreadCount => "GET_THREAD_COUNT",
        OpTeeSmc.EnableAsyncNotification => "ENABLE_ASYNC_NOTIF",
        OpTeeSmc.GetAsyncNotificationValue => "GET_ASYNC_NOTIF_VALUE",
        OpTeeSmc.GetProtectedMemoryConfig => "GET_PROTMEM_CONFIG",
        _ => Hexadecimal(functionId),
    };

    /// <summary>The name of an answer in X0. Identification calls answer with other things than a code.</summary>
    public static string OfAnswer(uint functionId, ulong x0) => functionId is OpTeeSmc.CallsCount or OpTeeSmc.CallsUid
        or OpTeeSmc.CallsRevision or OpTeeSmc.GetOsUuid or OpTeeSmc.GetOsRevision
        ? Hexadecimal(x0)
        : (uint)x0 switch
        {
            OpTeeSmc.ReturnOk => "OK",
            OpTeeSmc.ReturnThreadLimit => "ETHREAD_LIMIT",
            OpTeeSmc.ReturnBusy => "EBUSY",
            OpTeeSmc.ReturnResume => "ERESUME",
            OpTeeSmc.ReturnBadAddress => "EBADADDR",
            OpTeeSmc.ReturnBadCommand => "EBADCMD",
            OpTeeSmc.ReturnNoMemory => "ENOMEM",
            OpTeeSmc.ReturnNotAvailable => "ENOTAVAIL",
            OpTeeSmc.ReturnRpcAllocate => "RPC_ALLOC",
            OpTeeSmc.ReturnRpcFree => "RPC_FREE",
            OpTeeSmc.ReturnRpcForeignInterrupt => "RPC_FOREIGN_INTR",
            OpTeeSmc.ReturnRpcCommand => "RPC_CMD",
            OpTeeSmc.ReturnUnknownFunction => "UNKNOWN_FUNCTION",
            _ => Hexadecimal(x0),
        };

    private static string Hexadecimal(ulong value) => string.Create(CultureInfo.InvariantCulture, $"0x{value:x}");
}
