using OpTeeMediator.Forwarding;
using OpTeeMediator.Smccc;

namespace OpTeeMediator.Fuzzing.Targets;

/// <summary>Notes what the monitor throws, which the forwarder catches.</summary>
internal sealed class WatchedMonitor(ISecureMonitor monitor) : ISecureMonitor
{
    public Exception? Failure { get; private set; }

    public void MakeCall(ref SmcRegisters registers)
    {
        try
        {
            monitor.MakeCall(ref registers);
        }
        catch (Exception exception)
        {
            Failure ??= exception;
            throw;
        }
    }
}
