using OpTeeMediator.Backends;
using OpTeeMediator.Kvm.SystemCalls;

namespace OpTeeMediator.Linux.LinuxTee;

/// <summary>Errors of the host's driver as a guest's results, with origin COMMS.</summary>
internal static class HostResult
{
    internal static TeeResult Of(TeeReturnCode code) => new(code, TeeOrigin.Communication);

    /// <summary>Translates an error number. Expected is what a guest can cause.</summary>
    internal static TeeResult Of(int error, out bool isExpected)
    {
        TeeReturnCode code = error switch
        {
            Errno.ENOMEM => TeeReturnCode.OutOfMemory,
            Errno.EINVAL => TeeReturnCode.BadParameters,
            Errno.EACCES or Errno.EPERM => TeeReturnCode.AccessDenied,
            Errno.EBUSY or Errno.EAGAIN => TeeReturnCode.Busy,
            _ => TeeReturnCode.Communication,
        };
        isExpected = code != TeeReturnCode.Communication;
        return Of(code);
    }
}
