namespace OpTeeMediator.Machines;

/// <summary>Deadlines of waits for emulated machines, scaled by how long this computer takes to boot one.</summary>
/// <remarks>
/// A wait ends with the event that it is for; a deadline only says when to give up. Each is given for an idle
/// computer, with a margin. Every boot of a machine or a guest is measured, and the slowest one so far, compared with
/// an idle computer's, is the factor. Thread-safe.
/// </remarks>
public static class Deadlines
{
    // On an idle computer, too: other work may begin after a boot was measured.
    private const double LeastFactor = 2;

    // Before any boot was measured.
    private const double FirstFactor = 10;

    private static readonly Lock ALock = new();
    private static double s_factor;

    /// <summary>How much longer than an idle computer this one may take.</summary>
    public static double Factor
    {
        get
        {
            lock (ALock)
            {
                return s_factor == 0 ? FirstFactor : s_factor;
            }
        }
    }

    /// <summary>The deadline on this computer.</summary>
    /// <param name="idle">The deadline on an idle one.</param>
    /// <returns>At least as long.</returns>
    public static TimeSpan Scale(TimeSpan idle) => idle * Factor;

    /// <summary>Takes a boot into account.</summary>
    /// <param name="taken">How long it took.</param>
    /// <param name="idle">How long it takes on an idle computer.</param>
    public static void Measured(TimeSpan taken, TimeSpan idle)
    {
        lock (ALock)
        {
            s_factor = Math.Max(s_factor, Math.Max(LeastFactor, LeastFactor * (taken / idle)));
        }
    }
}
