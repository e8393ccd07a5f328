using OpTeeMediator.Smccc;

namespace OpTeeMediator.Testing;

/// <summary>What calls of a handler allocate on the thread that makes them.</summary>
public static class SmcAllocations
{
    private const int Rounds = 500;

    /// <param name="handler">Who answers them.</param>
    /// <param name="calls">Identifier, X1 and X2 of each.</param>
    /// <param name="x3">X3 of the first; each further call gets the one before's, so that a
    /// resume finds its call.</param>
    /// <returns>The bytes that were allocated.</returns>
    public static long Measure(ISmcHandler handler, ulong[] calls, ulong x3)
    {
        ArgumentNullException.ThrowIfNull(handler);
        ArgumentNullException.ThrowIfNull(calls);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int round = 0; round < Rounds; round++)
        {
            for (int index = 0; index < calls.Length; index += 3)
            {
                SmcRegisters registers = default;
                registers.X0 = calls[index];
                registers.X1 = calls[index + 1];
                registers.X2 = calls[index + 2];
                registers.X3 = x3;
                _ = handler.Handle(ref registers);
                x3 = registers.X3;
            }
        }

        return GC.GetAllocatedBytesForCurrentThread() - before;
    }
}
