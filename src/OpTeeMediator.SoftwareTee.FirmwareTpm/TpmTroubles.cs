using System.Diagnostics;
using Microsoft.Extensions.Logging;

namespace OpTeeMediator.SoftwareTee.FirmwareTpm;

/// <summary>Logs what goes wrong with a VM's TPM: once a minute, however often the guest causes it.</summary>
/// <param name="logger">The VM's logger.</param>
/// <param name="virtualMachine">The VM's name.</param>
/// <remarks>Thread-safe.</remarks>
internal sealed class TpmTroubles(ILogger logger, string virtualMachine)
{
    private static readonly TimeSpan Interval = TimeSpan.FromMinutes(1);

    private readonly Lock _lock = new();
    private long _last;
    private int _suppressed;

    /// <summary>swtpm could not be started.</summary>
    public void Refused(EngineException exception)
    {
        if (IsDue(out int suppressed))
        {
            logger.EngineDidNotStart(virtualMachine, exception.Message, suppressed);
        }
    }

    /// <summary>swtpm works no more.</summary>
    public void Failed(EngineException exception)
    {
        if (IsDue(out int suppressed))
        {
            logger.EngineFailed(virtualMachine, exception.Message, suppressed);
        }
    }

    private bool IsDue(out int suppressed)
    {
        lock (_lock)
        {
            suppressed = _suppressed;
            if (_last != 0 && Stopwatch.GetElapsedTime(_last) < Interval)
            {
                _suppressed++;
                return false;
            }

            _suppressed = 0;
            _last = Stopwatch.GetTimestamp();
            return true;
        }
    }
}
