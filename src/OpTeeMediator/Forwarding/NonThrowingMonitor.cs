using OpTeeMediator.Smccc;

namespace OpTeeMediator.Forwarding;

/// <summary>The VMM's secure monitor, with what it throws as a result.</summary>
/// <remarks>Thread-safe. After a failure a yielding call is never resumed; a fast call is answered ENOMEM.</remarks>
internal sealed class NonThrowingMonitor(ISecureMonitor monitor)
{
    /// <summary>Makes one SMC.</summary>
    /// <param name="registers">X0–X7 of the call; on return of its answer, or the call's X0 after a failure.</param>
    /// <returns>What the monitor threw: whether OP-TEE has seen the call is then unknown.</returns>
    public Exception? TryMakeCall(ref SmcRegisters registers)
    {
        ulong functionId = registers.X0;
        try
        {
            monitor.MakeCall(ref registers);
            return null;
        }
        catch (Exception exception)
        {
            registers.X0 = functionId;
            return exception;
        }
    }
}
