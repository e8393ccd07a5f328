using OpTeeMediator.Backends;
using OpTeeMediator.Kvm.SystemCalls;

namespace OpTeeMediator.Linux.LinuxTee;

/// <summary>
/// Errors of the host's driver as a guest's results: their origin is the way to the TEE, not the TEE.
/// </summary>
internal static class HostResult
{
    internal static TeeResult Of(TeeReturnCode code) => new(code, TeeOrigin.Communication);

    /// <summary>Translates an error number.</summary>
    /// <param name="error">The error number.</param>
    /// <param name="isExpected">
    /// Whether it is an answer that a guest can bring about; otherwise something is wrong in this host.
    /// </param>
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
