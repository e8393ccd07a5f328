using OpTeeMediator.ExplorationTests.Scheduling;

namespace OpTeeMediator;

/// <summary>Waits end by a pulse alone: see <see cref="Explorer"/> about time.</summary>
internal static class Monitor
{
    public static bool Wait(object target) => Explorer.WaitForPulse(target);

    public static bool Wait(object target, int milliseconds) => milliseconds != 0 && Explorer.WaitForPulse(target);

    public static void PulseAll(object target) => Explorer.PulseAll(target);
}
