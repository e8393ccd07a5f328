using System.Collections.Frozen;
using OpTeeMediator.Backends;
using OpTeeMediator.Protocol;

namespace OpTeeMediator.Messages;

/// <summary>Names of commands and results, for metrics and traces: a fixed set, whatever guests and applications
/// say.</summary>
internal static class MessageNames
{
    /// <summary>The name of what has none here.</summary>
    public const string Other = "OTHER";

    private static readonly FrozenDictionary<TeeReturnCode, string> s_results =
        Enum.GetValues<TeeReturnCode>().ToFrozenDictionary(code => code, code => code.ToString());

    /// <summary>The upstream constant of a message's command, without its prefix.</summary>
    public static string OfCommand(uint command) => command switch
    {
        OpTeeMessage.CommandOpenSession => "OPEN_SESSION",
        OpTeeMessage.CommandInvoke => "INVOKE_COMMAND",
        OpTeeMessage.CommandCloseSession => "CLOSE_SESSION",
        OpTeeMessage.CommandCancel => "CANCEL",
        OpTeeMessage.CommandRegisterSharedMemory => "REGISTER_SHM",
        OpTeeMessage.CommandUnregisterSharedMemory => "UNREGISTER_SHM",
        OpTeeMessage.CommandDoBottomHalf => "DO_BOTTOM_HALF",
        OpTeeMessage.CommandStopAsyncNotification => "STOP_ASYNC_NOTIF",
        _ => Other,
    };

    /// <summary>The upstream constant of an RPC's command, without its prefix.</summary>
    public static string OfRpc(uint command) => command switch
    {
        OpTeeRpc.LoadApplication => "LOAD_TA",
        OpTeeRpc.Rpmb => "RPMB",
        OpTeeRpc.FileSystem => "FS",
        OpTeeRpc.GetTime => "GET_TIME",
        OpTeeRpc.Notification => "NOTIFICATION",
        OpTeeRpc.Suspend => "SUSPEND",
        OpTeeRpc.AllocateSharedMemory => "SHM_ALLOC",
        OpTeeRpc.FreeSharedMemory => "SHM_FREE",
        OpTeeRpc.Profile => "GPROF",
        OpTeeRpc.Socket => "SOCKET",
        OpTeeRpc.FunctionTrace => "FTRACE",
        OpTeeRpc.Plugin => "SUPP_PLUGIN",
        OpTeeRpc.I2cTransfer => "I2C_TRANSFER",
        OpTeeRpc.RpmbProbeReset => "RPMB_PROBE_RESET",
        OpTeeRpc.RpmbProbeNext => "RPMB_PROBE_NEXT",
        OpTeeRpc.RpmbFrames => "RPMB_FRAMES",
        _ => Other,
    };

    /// <summary>The name of a return code.</summary>
    public static string OfResult(TeeReturnCode code) => s_results.GetValueOrDefault(code, Other);
}
